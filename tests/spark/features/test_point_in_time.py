"""The point-in-time join: DuckDB = Spark = an oracle that is slow and obvious."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.examples import examples

from asgard.common.errors import UsageError
from asgard.features.joins.duck import TIME, join_sql
from asgard.features.joins.latest import KNOWN, latest_frame
from asgard.features.joins.spark_join import joined_frame
from asgard.features.pinned import PinnedTable, PinnedView, RowFacts
from asgard.features.views import Feature, FeatureView, feature_view

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from pyspark.sql import SparkSession

BERLIN = ZoneInfo("Europe/Berlin")
SPRING, AUTUMN = datetime(2024, 3, 31, 0, 30, tzinfo=BERLIN), datetime(2024, 10, 27, 0, 30, tzinfo=BERLIN)
BASES = [int(base.timestamp()) * 1_000_000 for base in (SPRING, AUTUMN)]
MINUTE = 60_000_000
VIEW = feature_view(
    "points",
    table="gold.points",
    keys=("scope", "customer"),
    features=[Feature("amount", "double"), Feature("word", "string")],
    created_timestamp="created_at",
    tie_break="place",
)


@dataclass(frozen=True)
class Row:
    """One row of the feature table; times in microseconds."""

    scope: int | None
    customer: str | None
    event: int | None
    created: int | None
    place: int | None
    amount: float | None
    word: str | None


@dataclass(frozen=True)
class Label:
    """One label; `number` tells equal ones apart."""

    number: int
    scope: int | None
    customer: str | None
    time: int


def oracle(view: FeatureView, rows: Sequence[Row], label: Label) -> tuple[float | None, str | None]:
    """What section 6 of the design says, row by row."""
    best: Row | None = None
    for row in rows:
        if row.scope is None or row.customer is None or row.event is None:
            continue
        if (row.scope, row.customer) != (label.scope, label.customer) or row.event > label.time:
            continue
        if view.created_timestamp and (row.created is None or row.created > label.time):
            continue
        if best is None or rank(view, row) > rank(view, best):
            best = row
    if best is None or best.event is None:
        return None, None
    if view.ttl is not None and label.time - best.event > view.ttl.total_seconds() * 1_000_000:
        return None, None
    return best.amount, best.word


def rank(view: FeatureView, row: Row) -> tuple[Any, ...]:
    """Greater is better; null is the least."""

    def with_null(value: Any) -> tuple[bool, Any]:
        return (value is not None, value if value is not None else 0)

    created = (with_null(row.created),) if view.created_timestamp else ()
    tie = (with_null(row.place),) if view.tie_break else ()
    word = (row.word is not None, (row.word or "").encode())
    return (row.event, *created, *tie, with_null(row.amount), word)


times = st.builds(lambda base, minutes: base + minutes * MINUTE, st.sampled_from(BASES), st.integers(0, 240))
rows_of_one = st.builds(
    Row,
    scope=st.sampled_from([1, 2, None]),
    customer=st.sampled_from(["a", "b", "ä", None]),
    event=st.one_of(times, st.none()),
    created=st.one_of(times, st.none()),
    place=st.sampled_from([1, 2, None]),
    amount=st.sampled_from([0.5, 1.5, -2.0, None]),
    word=st.sampled_from(["x", "ß", "", None]),
)
labels_of_one = st.builds(
    Label,
    number=st.just(0),
    scope=st.sampled_from([1, 2, None]),
    customer=st.sampled_from(["a", "b", "ä", None]),
    time=times,
)
ttls = st.sampled_from([None, timedelta(minutes=1), timedelta(minutes=30), timedelta(hours=2)])


def variant(ttl: timedelta | None, *, created: bool, tie: bool) -> FeatureView:
    """`VIEW` with another rule."""
    return replace(
        VIEW, ttl=ttl, created_timestamp="created_at" if created else None, tie_break="place" if tie else None
    )


def feature_table(rows: Sequence[Row]) -> pa.Table:
    """The rows as Arrow."""
    moment = pa.timestamp("us", tz="UTC")
    return pa.table(
        {
            "scope": pa.array([row.scope for row in rows], pa.int64()),
            "customer": pa.array([row.customer for row in rows], pa.string()),
            "event_timestamp": pa.array([row.event for row in rows], moment),
            "created_at": pa.array([row.created for row in rows], moment),
            "place": pa.array([row.place for row in rows], pa.int64()),
            "amount": pa.array([row.amount for row in rows], pa.float64()),
            "word": pa.array([row.word for row in rows], pa.string()),
        }
    )


def label_table(labels: Sequence[Label]) -> pa.Table:
    """The labels as `load_labels` gives them."""
    return pa.table(
        {
            "number": pa.array([label.number for label in labels], pa.int64()),
            TIME: pa.array([label.time for label in labels], pa.int64()),
            "__key_scope": pa.array([label.scope for label in labels], pa.int64()),
            "__key_customer": pa.array([label.customer for label in labels], pa.string()),
        }
    )


def pinned(view: FeatureView, facts: RowFacts | None = None) -> PinnedView:
    """The view, over rows that a test brings itself."""
    return PinnedView(view, cast("PinnedTable", None), facts)


NAMES = [("amount", "amount"), ("word", "word")]


def by_duckdb(
    connection: "DuckDBPyConnection", view: PinnedView, rows: Sequence[Row], labels: Sequence[Label]
) -> dict[int, tuple[Any, Any]]:
    """The features of each label."""
    connection.register("rows", feature_table(rows))
    connection.register("given", label_table(labels))
    sql = join_sql(lambda _table, _columns: "rows", "given", ("number", TIME), [view], [NAMES])
    return {
        row[0]: (row[1], row[2]) for row in connection.execute(f"SELECT number, amount, word FROM ({sql})").fetchall()
    }


@pytest.fixture(scope="module")
def duck() -> "Iterator[DuckDBPyConnection]":
    """One DuckDB for all examples."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'; SET threads = 2")
    yield connection
    connection.close()


@settings(max_examples=examples(300), deadline=None)
@given(
    st.lists(rows_of_one, max_size=25),
    st.lists(labels_of_one, min_size=1, max_size=8),
    ttls,
    st.booleans(),
    st.booleans(),
)
def test_duckdb_is_the_oracle(
    duck: "DuckDBPyConnection", rows: list[Row], labels: list[Label], ttl: timedelta | None, created: bool, tie: bool
) -> None:
    view = variant(ttl, created=created, tie=tie)
    numbered = [replace(label, number=number) for number, label in enumerate(labels)]
    expected = {label.number: oracle(view, rows, label) for label in numbered}
    assert by_duckdb(duck, pinned(view), rows, numbered) == expected


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(rows_of_one, max_size=25), st.lists(labels_of_one, min_size=1, max_size=8), ttls)
def test_the_fast_way_for_plain_rows_is_the_same(
    duck: "DuckDBPyConnection", rows: list[Row], labels: list[Label], ttl: timedelta | None
) -> None:
    plain = {(row.scope, row.customer, row.event): replace(row, created=row.event) for row in rows}
    view = variant(ttl, created=True, tie=False)
    numbered = [replace(label, number=number) for number, label in enumerate(labels)]
    facts = RowFacts(rows=len(plain), entities=0, ties=0, late=0, unusable=0, first=None, last=None)
    found = by_duckdb(duck, pinned(view, facts), list(plain.values()), numbered)
    assert found == {label.number: oracle(view, list(plain.values()), label) for label in numbered}


@pytest.mark.parametrize("created", [True, False])
@pytest.mark.parametrize("ttl", [None, timedelta(minutes=30)])
def test_spark_is_the_oracle_and_duckdb(
    spark: "SparkSession", duck: "DuckDBPyConnection", created: bool, ttl: timedelta | None
) -> None:
    """Eight hundred small worlds at once: each is a scope of its own."""
    choose = random.Random(f"{created} {ttl}")

    def moment() -> int:
        return choose.choice(BASES) + choose.randrange(0, 60) * MINUTE

    rows: list[Row] = []
    labels: list[Label] = []
    for scope in range(800):
        rows += [
            Row(
                scope=choose.choice([scope, scope, scope, None]),
                customer=choose.choice(["a", "b", "ä", None]),
                event=choose.choice([moment(), moment(), moment(), None]),
                created=choose.choice([moment(), moment(), moment(), None]),
                place=choose.choice([1, 2, None]),
                amount=choose.choice([0.5, 1.5, -2.0, None]),
                word=choose.choice(["x", "ß", "", None]),
            )
            for _ in range(choose.randrange(0, 12))
        ]
        rows += choose.sample(rows, min(len(rows), 2))  # exact duplicates
        for _ in range(3):
            customer = choose.choice(["a", "b", "ä", None])
            labels.append(Label(len(labels), choose.choice([scope, scope, None]), customer, moment()))
    view = variant(ttl, created=created, tie=True)
    frame = spark.createDataFrame(feature_table(rows))
    joined = joined_frame(lambda _table: frame, spark.createDataFrame(label_table(labels)), [pinned(view)], [NAMES])
    found = {row.number: (row.amount, row.word) for row in joined.collect()}
    expected = {label.number: oracle(view, rows, label) for label in labels}
    assert sum(value != (None, None) for value in expected.values()) > 50
    assert found == expected
    assert by_duckdb(duck, pinned(view), rows, labels) == expected


@pytest.mark.parametrize("created", [True, False])
@pytest.mark.parametrize("ttl", [None, timedelta(minutes=30)])
def test_the_latest_of_each_entity_is_what_a_label_of_that_moment_sees(
    spark: "SparkSession", created: bool, ttl: timedelta | None
) -> None:
    choose = random.Random(f"latest {created} {ttl}")
    rows = [
        Row(
            scope=choose.choice([*range(400), None]),
            customer=choose.choice(["a", "b", None]),
            event=choose.choice([BASES[0] + choose.randrange(0, 90) * MINUTE, None]),
            created=choose.choice([BASES[0] + choose.randrange(0, 90) * MINUTE, None]),
            place=choose.choice([1, 2, None]),
            amount=choose.choice([0.5, 1.5, -2.0, None]),
            word=choose.choice(["x", "", None]),
        )
        for _ in range(4_000)
    ]
    now = BASES[0] + 60 * MINUTE
    moment = datetime.fromtimestamp(now / 1_000_000, UTC)
    view = variant(ttl, created=created, tie=True)
    known = {(row.scope, row.customer) for row in rows if row.scope is not None and row.customer is not None}
    expected = {key: oracle(view, rows, Label(0, *key, now)) for key in known}
    frame, half = spark.createDataFrame(feature_table(rows)), sorted(known)[::2]
    found = latest_frame(lambda _table: frame, [pinned(view)], [NAMES], moment).collect()
    assert len(found) == len({(row.scope, row.customer) for row in found})
    latest = {(row.scope, row.customer): (row.amount, row.word) for row in found}
    assert latest == {key: expected[key] for key in latest}
    assert all(expected[key] == (None, None) for key in known - set(latest))
    assert len(latest) > 100
    asked = spark.createDataFrame([*half, (-1, "nobody")], "scope bigint, customer string")
    given = latest_frame(lambda _table: frame, [pinned(view)], [NAMES], moment, asked).collect()
    assert {(row.scope, row.customer): (row.amount, row.word) for row in given} == {
        **{key: expected[key] for key in half},
        (-1, "nobody"): (None, None),
    }
    assert {(row.scope, row.customer) for row in given if row[KNOWN]} == set(half) & set(latest)


def test_views_of_different_keys_have_no_common_latest(spark: "SparkSession") -> None:
    one, other = pinned(VIEW), pinned(replace(VIEW, name="others", keys=("scope",)))
    frame = spark.createDataFrame(feature_table([Row(1, "a", BASES[0], BASES[0], 1, 0.5, "x")]))
    names = [NAMES, [("amount", "other_amount")]]
    moment = datetime.fromtimestamp(BASES[0] / 1_000_000, UTC)
    with pytest.raises(UsageError, match="have different keys"):
        latest_frame(lambda _table: frame, [one, other], names, moment)
    asked = spark.createDataFrame([(1, "a"), (1, "b")], "scope bigint, customer string")
    rows = latest_frame(lambda _table: frame, [one, other], names, moment, asked).collect()
    assert sorted((row.customer, row.amount, row.other_amount) for row in rows) == [("a", 0.5, 0.5), ("b", None, 0.5)]
    assert all(row[KNOWN] for row in rows)  # by one view is enough
    with pytest.raises(UsageError, match="The entities lack customer"):
        latest_frame(lambda _table: frame, [one], [NAMES], moment, asked.select("scope"))
