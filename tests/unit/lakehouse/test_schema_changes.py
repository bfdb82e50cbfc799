"""What a write changes in a table's schema, by name, in structs, arrays and maps; what no table can hold."""

import pytest
from pyspark.sql import types as T
from tests.support.runs import declared

from asgard.common.errors import ContractError, DeclarationError
from asgard.common.names import TableName
from asgard.lakehouse.declaring.declaration import Table
from asgard.lakehouse.declaring.schema_changes import AddColumn, Rename, Widen, schema_changes, type_sql
from asgard.lakehouse.declaring.stored_types import require_storable, stored_schema

NAME = TableName("silver", "t")
INT, LONG, TEXT = T.IntegerType(), T.LongType(), T.StringType()


def struct(**fields: T.DataType) -> T.StructType:
    return T.StructType([T.StructField(name, kind) for name, kind in fields.items()])


def nested(kind: T.DataType) -> dict[str, tuple[T.DataType, tuple[str, ...]]]:
    """A type in each place where it may stand, with the path to it."""
    return {
        "struct": (struct(s=kind), ("c", "s")),
        "array": (T.ArrayType(kind), ("c", "element")),
        "map": (T.MapType(TEXT, kind), ("c", "value")),
        "deep": (T.ArrayType(struct(m=T.MapType(INT, kind))), ("c", "element", "m", "value")),
    }


@pytest.mark.parametrize("place", ["struct", "array", "map", "deep"])
def test_fields_are_found_by_name_wherever_their_struct_is(place: str) -> None:
    old, path = nested(struct(a=INT, b=INT))[place]
    new, _ = nested(struct(b=INT, c=TEXT, A=LONG))[place]
    assert schema_changes(declared(NAME), struct(c=old), struct(C=new)) == (
        AddColumn((*path, "c"), TEXT),
        Widen((*path, "a"), "bigint"),
    )
    with pytest.raises(ContractError, match=rf"frozen.*add {'.'.join(path)}.c string; widen {'.'.join(path)}.a"):
        schema_changes(declared(NAME, contract="frozen"), struct(c=old), struct(c=new))
    assert schema_changes(declared(NAME, contract="frozen"), struct(c=old), struct(c=old)) == ()


@pytest.mark.parametrize("place", ["struct", "array", "map", "deep"])
def test_a_field_that_is_gone_or_of_another_kind_is_refused_with_both_types(place: str) -> None:
    old, path = nested(struct(a=INT, b=INT))[place]
    lacking, _ = nested(struct(a=INT))[place]
    where = ".".join(path)
    with pytest.raises(ContractError, match=rf"lack fields .*{where}\.b; .* struct<a:int,b:int> .* struct<a:int> in"):
        schema_changes(declared(NAME), struct(c=old), struct(c=lacking))
    other, _ = nested(struct(a=T.ArrayType(INT), b=INT))[place]
    with pytest.raises(ContractError, match=rf"column {where}\.a is int in the table but array<int> in the rows"):
        schema_changes(declared(NAME), struct(c=old), struct(c=other))


def test_the_keys_of_a_map_can_not_be_changed() -> None:
    old, new = T.MapType(INT, INT), T.MapType(LONG, INT)
    with pytest.raises(ContractError, match=r"column m\.key is int in the table but bigint in the rows"):
        schema_changes(declared(NAME), struct(m=old), struct(m=new))
    assert schema_changes(declared(NAME), struct(m=new), struct(m=old)) == ()


def test_what_is_null_everywhere_fits_any_column_that_is_there() -> None:
    rows = struct(s=struct(a=T.NullType()), v=T.ArrayType(T.NullType()))
    assert schema_changes(declared(NAME), struct(s=struct(a=INT), v=T.ArrayType(TEXT)), rows) == ()
    with pytest.raises(DeclarationError, match=r"column s\.b is void"):
        schema_changes(declared(NAME), struct(s=struct(a=INT)), struct(s=struct(a=INT, b=T.NullType())))


def test_a_rename_that_changes_only_the_letter_case_is_none() -> None:
    assert schema_changes(declared(NAME, renames={"v": "V"}), struct(v=INT), struct(V=INT)) == ()
    assert schema_changes(declared(NAME, renames={"v": "w"}), struct(v=INT), struct(W=INT)) == (Rename("v", "w"),)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (T.NullType(), "void"), (T.VariantType(), "variant"), (T.VarcharType(3), r"varchar\(3\)"),
        (T.CharType(3), r"char\(3\)"), (T.DayTimeIntervalType(), "interval day to second"),
        (T.YearMonthIntervalType(), "interval year to month"), (T.CalendarIntervalType(), "interval"),
        (T.TimeType(), r"time\(6\)"),
    ],
)  # fmt: skip
def test_types_that_iceberg_lacks_are_named_with_their_column(kind: T.DataType, said: str) -> None:
    for whole, path in ((kind, ("c",)), *nested(kind).values()):
        with pytest.raises(DeclarationError, match=rf"silver\.t: column {'.'.join(path)} is {said}, a type"):
            require_storable(declared(NAME), ("c",), whole)


@pytest.mark.parametrize("name", ["_file", "_POS", "_partition", "_change_type", "_commit_snapshot_id"])
def test_names_of_icebergs_own_columns_are_refused(name: str) -> None:
    with pytest.raises(DeclarationError, match=rf"column {name} has the name of one of Iceberg's own"):
        require_storable(declared(NAME), (name,), INT)


@pytest.mark.parametrize(
    ("field", "name"),
    [("day(at)", "at_day"), ("bucket(4, id)", "ID_bucket"), ("truncate(4, id)", "id_trunc"), ("hour(at)", "at_hour")],
)
def test_names_of_partition_fields_are_refused(field: str, name: str) -> None:
    table: Table = declared(NAME, partitioned_by=[field])
    with pytest.raises(DeclarationError, match=rf"column {name} has the name that Iceberg gives the partition field"):
        require_storable(table, (name,), INT)
    require_storable(declared(NAME, partitioned_by=["id"]), ("id",), INT)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (T.StructType([T.StructField("id", INT), T.StructField("ID", INT)]), "'id' more than once: id, ID"),
        (struct(s=T.ArrayType(struct(a=INT, A=INT))), r"'s\.element\.a' more than once: a, A"),
    ],
)
def test_names_that_are_there_twice_are_refused(schema: T.StructType, said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        stored_schema(declared(NAME), schema)


def test_small_whole_numbers_are_stored_as_int_wherever_they_are() -> None:
    given = struct(v=T.ArrayType(struct(a=T.ByteType())), m=T.MapType(T.ShortType(), T.ShortType()))
    assert type_sql(stored_schema(declared(NAME), given)) == "struct<v:array<struct<a:int>>,m:map<int,int>>"


def test_odd_names_are_quoted_in_types() -> None:
    odd = T.StructType([T.StructField("a b", INT), T.StructField("c`d", T.ArrayType(LONG)), T.StructField("é", TEXT)])
    assert type_sql(odd) == "struct<`a b`:int,`c``d`:array<bigint>,`é`:string>"
