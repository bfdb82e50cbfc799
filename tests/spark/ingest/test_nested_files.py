"""Nested values of Parquet files: fields by name, growth as the contract says, nothing lost (issue: by place)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from tests.support.structs import Kind, grown, has_struct, kinds, plain, reordered, unfit

from asgard.common.errors import ContractError, InputDataError
from asgard.common.settings import load_settings
from asgard.ingest.columns import TableColumns
from asgard.ingest.files import find_files, hash_files
from asgard.ingest.formats import Format, TextOptions
from asgard.ingest.own_columns import RAW, SOURCE_FILE, SOURCE_ROW
from asgard.ingest.reading import Reading
from asgard.lakehouse.declaring.alignment import comparable
from asgard.lakehouse.declaring.declaration import Contract
from asgard.lakehouse.declaring.schema_changes import type_sql

BATCH = settings(
    max_examples=1, deadline=None, suppress_health_check=list(HealthCheck), database=None, phases=[Phase.generate]
)


def read(
    spark: SparkSession, *tables: pa.Table, folder: Path, known: TableColumns | None = None, allow_missing: bool = False
) -> DataFrame:
    """The rows of the tables, each in a file of its own; in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, table in enumerate(tables):
        pq.write_table(table, folder / f"{place:03}.parquet")
    files = hash_files(find_files([str(folder)], Format.PARQUET, load_settings({}, environment={}), lambda _: None))
    reading = Reading("bronze.x", Format.PARQUET, TextOptions(), allow_missing=allow_missing)
    return reading.rows(spark, files, known or TableColumns(), lambda _line: None).orderBy(SOURCE_FILE, SOURCE_ROW)


def one(kind: Kind, *values: Any) -> pa.Table:
    return pa.table({"v": pa.array([kind.to_arrow(value) for value in values], kind.arrow)})


AB = Kind("struct", (Kind("int"), Kind("int")), ("a", "b"))
BA = Kind("struct", (Kind("int"), Kind("int")), ("b", "a"))
PLACES: dict[str, tuple[Callable[[Kind], Kind], Callable[[Any], Any]]] = {
    "alone": (lambda kind: kind, lambda value: value),
    "in a list": (lambda kind: Kind("array", (kind,)), lambda value: [value, None]),
    "in a map": (lambda kind: Kind("map", (kind,)), lambda value: {"k": value}),
    "deep": (
        lambda kind: Kind("struct", (Kind("array", (Kind("map", (kind,)),)),), ("in",)),
        lambda value: {"in": [{"k": value}, {}]},
    ),
}


def test_text_in_a_list_is_the_number_that_it_says_or_null_with_its_json(spark: SparkSession, tmp_path: Path) -> None:
    texts = ["0.1", "-0.0", "1e300", "NaN", "9007199254740993", "1e-400", "x"]
    within = Kind("array", (Kind("struct", (Kind("string"),), ("n",)),))
    known = TableColumns({"v": "array<struct<n:double>>"})
    frame = read(spark, one(within, *([{"n": text}] for text in texts)), folder=tmp_path / "x", known=known)
    rows = frame.selectExpr("string(v[0].n)", RAW).collect()
    assert [row[0] for row in rows] == ["0.1", "-0.0", "1.0E300", "NaN", None, None, None]
    assert [row[1] and row[1]["v"] for row in rows] == [None] * 4 + [f'[{{"n":"{text}"}}]' for text in texts[4:]]


@pytest.mark.parametrize("place", PLACES)
def test_fields_in_another_order_or_case_and_added_ones(spark: SparkSession, tmp_path: Path, place: str) -> None:
    within, put = PLACES[place]
    more = Kind("struct", (Kind("string"), Kind("bigint"), Kind("int")), ("c", "B", "a"))
    frame = read(
        spark,
        one(within(AB), put({"a": 1, "b": 2}), None),
        one(within(BA), put({"a": 3, "b": 4})),
        one(within(more), put({"a": 5, "B": 2**40, "c": "x"}), put(None)),
        folder=tmp_path / "x",
    )
    found = [(plain(row["v"]), row[RAW]) for row in frame.collect()]
    assert found == [
        (put({"a": 1, "b": 2, "c": None}), None),
        (None, None),
        (put({"a": 3, "b": 4, "c": None}), None),
        (put({"a": 5, "b": 2**40, "c": "x"}), None),
        (put(None), None),
    ]


def test_a_part_that_does_not_fit_a_declared_field_makes_the_value_null_and_keeps_its_json(
    spark: SparkSession, tmp_path: Path
) -> None:
    known = TableColumns({"v": "struct<a:int,l:array<struct<n:decimal(5,2)>>,m:map<string,int>>"})
    kind = Kind(
        "struct",
        (Kind("map", (Kind("bigint"),)), Kind("string"), Kind("array", (Kind("struct", (Kind("string"),), ("n",)),))),
        ("m", "a", "l"),
    )
    values = [
        {"m": {"k": 1}, "a": "12", "l": [{"n": "1.5"}, None]},
        {"m": {"k": 2**40}, "a": "12", "l": []},
        {"m": {"k": None}, "a": None, "l": [{"n": None}, {"n": "1.239"}]},
        {"m": None, "a": "x", "l": None},
        None,
    ]
    frame = read(spark, one(kind, *values), folder=tmp_path / "x", known=known)
    found = [(plain(row["v"]), row[RAW]) for row in frame.selectExpr(
        "struct(v.a, transform(v.l, x -> string(x.n)) AS l, v.m) AS s", "v IS NULL AS none", RAW
    ).selectExpr("if(none, null, s) AS v", RAW).collect()]  # fmt: skip
    assert found == [
        ({"a": 12, "l": ["1.50", None], "m": {"k": 1}}, None),
        (None, {"v": '{"m":{"k":1099511627776},"a":"12","l":[]}'}),
        (None, {"v": '{"m":{"k":null},"a":null,"l":[{"n":null},{"n":"1.239"}]}'}),
        (None, {"v": '{"m":null,"a":"x","l":null}'}),
        (None, None),
    ]


@pytest.mark.parametrize(
    ("old", "table", "said"),
    [
        ("struct<a:int,b:int>", pa.table({"v": [{"x": 1, "y": 2}]}), r"lacks v\.a, v\.b of bronze\.x: v is struct<a"),
        ("struct<a:int>", pa.table({"v": [1]}), r"column v is bigint in the file but struct<a:int> in bronze\.x"),
        ("string", pa.table({"v": [{"a": 1}]}), r"column v is struct<a:bigint> in the file but string"),
        ("array<struct<a:int>>", pa.table({"v": [[{"a": [1]}]]}), r"v\.element\.a is array<bigint> in the file but"),
        ("map<int,int>", pa.table({"v": pa.array([[("x", 1)]], pa.map_(pa.string(), pa.int32()))}), "map<string,int>"),
        ("struct<t:timestamp>", pa.table({"v": [{"t": 1}]}), r"v\.t is bigint in the file but timestamp"),
        ("date", pa.table({"v": [1]}), r"column v is bigint in the file but date in bronze\.x"),
    ],
)
def test_other_kinds_are_refused_with_both_types(
    spark: SparkSession, tmp_path: Path, old: str, table: pa.Table, said: str
) -> None:
    with pytest.raises(ContractError, match=rf"000\.parquet.*{said}"):
        read(spark, table, folder=tmp_path / "x", known=TableColumns({"v": old}))


def test_a_frozen_contract_takes_no_new_field_and_allow_missing_makes_lacking_ones_null(
    spark: SparkSession, tmp_path: Path
) -> None:
    known = TableColumns({"v": "array<struct<a:bigint>>", "w": "struct<a:int>"}, contract=Contract.FROZEN)
    with pytest.raises(ContractError, match=r"has v\.element\.b, which bronze\.x lacks, and its contract is frozen"):
        read(spark, pa.table({"v": [[{"b": 1, "a": 1}]], "w": [{"a": 1}]}), folder=tmp_path / "x", known=known)
    known = TableColumns({"v": "array<struct<a:bigint,b:int>>", "w": "struct<a:int>"})
    frame = read(spark, pa.table({"v": [[{"a": 1}]]}), folder=tmp_path / "y", known=known, allow_missing=True)
    assert [(plain(row["v"]), row["w"], row[RAW]) for row in frame.collect()] == [([{"a": 1, "b": None}], None, None)]


def test_columns_that_are_null_everywhere_say_no_type(spark: SparkSession, tmp_path: Path) -> None:
    frame = read(
        spark,
        pa.table({"v": pa.nulls(1), "l": [[]], "n": pa.nulls(1)}),
        pa.table({"v": [{"a": 1}], "l": [[{"a": 1}]], "n": pa.nulls(1)}),
        folder=tmp_path / "x",
    )
    assert (
        type_sql(frame.select("v", "l", "n").schema) == "struct<v:struct<a:bigint>,l:array<struct<a:bigint>>,n:string>"
    )
    found = [(plain(row["v"]), plain(row["l"]), row["n"]) for row in frame.collect()]
    assert found == [(None, [], None), ({"a": 1}, [{"a": 1}], None)]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (pa.struct([("t", pa.time64("us"))]), r"column v\.t is time64"),
        (pa.list_(pa.duration("us")), r"column v\.element is duration"),
        (pa.struct([("a", pa.int32()), ("A", pa.int32())]), "are equal or differ only in case: a"),
    ],
)
def test_what_spark_can_not_read_is_refused_wherever_it_is(
    spark: SparkSession, tmp_path: Path, kind: pa.DataType, said: str
) -> None:
    with pytest.raises(InputDataError, match=said):
        read(spark, pa.table({"v": pa.nulls(1, kind)}), folder=tmp_path / "x")


def test_floats_of_16_bits_in_structs(spark: SparkSession, tmp_path: Path) -> None:
    kind = pa.struct([("h", pa.float16())])
    frame = read(spark, pa.table({"v": pa.array([{"h": 1.5}], kind)}), folder=tmp_path / "x")
    assert [plain(row["v"]) for row in frame.collect()] == [{"h": 1.5}]


@st.composite
def columns(draw: st.DrawFn, count: int) -> list[tuple[Kind, Kind, list[Any], list[Any]]]:
    """For each column a type and its values, and a grown one with some."""
    found = []
    for _ in range(count):
        kind = draw(kinds())
        other = draw(grown(kind))
        found.append((kind, other, *(draw(st.lists(k.values(), min_size=3, max_size=3)) for k in (kind, other))))
    return found


def check_growth(spark: SparkSession, folder: Path, found: list[tuple[Kind, Kind, list[Any], list[Any]]]) -> None:
    """Two files, each with all of the columns, land as a plain loop over the values says."""
    tables = [
        pa.table({
            f"c{place}": pa.array([kind.to_arrow(value) for value in values], kind.arrow)
            for place, (kind, values) in enumerate(side)
        })
        for side in ([(k, v) for k, _, v, _ in found], [(k, v) for _, k, _, v in found])
    ]  # fmt: skip
    rows = read(spark, *tables, folder=folder).collect()
    assert all(row[RAW] is None for row in rows)
    for place, (kind, other, first, second) in enumerate(found):
        landed = [plain(row[f"c{place}"]) for row in rows]
        assert landed == [*(other.of(kind, value) for value in first), *second], (kind.ddl, other.ddl)


@BATCH
@given(data=st.data())
def test_random_structs_land_by_name(spark: SparkSession, tmp_path: Path, data: st.DataObject) -> None:
    check_growth(spark, tmp_path / "x", data.draw(columns(20)))


@pytest.mark.soak
@settings(BATCH, max_examples=40)
@given(data=st.data())
def test_random_structs_land_by_name_for_long(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    check_growth(spark, tmp_path_factory.mktemp("x"), data.draw(columns(30)))


@settings(BATCH, max_examples=20)
@given(data=st.data())
def test_random_structs_that_do_not_fit_are_refused(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    kind = data.draw(kinds().filter(has_struct))
    other = data.draw(unfit(kind))
    folder = tmp_path_factory.mktemp("x")
    with pytest.raises(ContractError):
        read(spark, one(kind), one(other), folder=folder)


@BATCH
@given(data=st.data())
def test_values_compare_as_in_python_with_their_fields_in_another_order(
    spark: SparkSession, tmp_path: Path, data: st.DataObject
) -> None:
    """`comparable` against `==` on dicts."""
    from pyspark.sql import functions as F

    found = []
    for _ in range(20):
        kind = data.draw(kinds())
        other = data.draw(reordered(kind))
        values = data.draw(st.lists(kind.values(), min_size=3, max_size=3))
        others = [data.draw(st.sampled_from([value, values[0]]) | kind.values()) for value in values]
        found.append((kind, other, values, others))
    sides = [
        pa.table({f"c{n}": pa.array([k.to_arrow(v) for v in vs], k.arrow) for n, (k, vs) in enumerate(side)})
        for side in ([(k, v) for k, _, v, _ in found], [(k, v) for _, k, _, v in found])
    ]
    frame = read(spark, *sides, folder=tmp_path / "x")
    kinds_of = {field.name: field.dataType for field in frame.schema.fields}
    same = [comparable(F.col(name), kinds_of[name]).alias(name) for name in kinds_of if name.startswith("c")]
    one_side, other_side = (
        frame.where(F.col(SOURCE_FILE).endswith(f"00{n}.parquet")).select(SOURCE_ROW, *same).alias(f"s{n}")
        for n in (0, 1)
    )
    joined = one_side.join(other_side, SOURCE_ROW).orderBy(SOURCE_ROW)
    equal = joined.select(*(F.col(f"s0.c{n}").eqNullSafe(F.col(f"s1.c{n}")) for n in range(20))).collect()
    for place, (kind, _, values, others) in enumerate(found):
        assert [row[place] for row in equal] == [value == other for value, other in zip(values, others, strict=True)], (
            kind.ddl
        )
