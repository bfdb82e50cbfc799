"""Values aligned by name, compared whatever is in them, and rows in declared columns."""

import pytest
from pyspark.sql import SparkSession
from tests.support.runs import declared

from asgard.common.errors import DeclarationError
from asgard.common.names import TableName
from asgard.lakehouse.declaring.declared_columns import in_declared_columns

NAME = TableName("silver", "t")


@pytest.mark.parametrize(
    ("declared_as", "given", "said"),
    [
        ("struct<a:int,b:int>", "named_struct('x', 1, 'y', 2)", r"struct<a:int,b:int>, but the rows have struct<x:int"),
        ("struct<a:int>", "named_struct('a', 1, 'b', 2)", r"struct<a:int>, but the rows have struct<a:int,b:int>"),
        ("array<struct<a:int,b:int>>", "array(named_struct('a', 1))", r"have array<struct<a:int>>"),
        ("struct<a:int>", "1", r"struct<a:int>, but the rows have int"),
        ("string", "named_struct('a', 1)", r"string, but the rows have struct<a:int>"),
        ("date", "1", r"date, but the rows have int"),
        ("array<struct<a:date>>", "array(named_struct('a', 1))", r"array<struct<a:date>>, but the rows have array<str"),
    ],
)
def test_what_can_not_be_cast_to_a_declared_column_is_refused_with_both_types(
    spark: SparkSession, declared_as: str, given: str, said: str
) -> None:
    table = declared(NAME, columns=f"v {declared_as}")
    with pytest.raises(DeclarationError, match=rf"column v is declared as .*{said}"):
        in_declared_columns(table, spark.sql(f"SELECT {given} AS v"))


@pytest.mark.parametrize("kind", ["varchar(3)", "array<char(2)>", "struct<v:variant>", "interval day"])
def test_a_declared_type_that_iceberg_lacks_is_refused_with_its_column(spark: SparkSession, kind: str) -> None:
    words = r"column v\S* is (varchar|char|variant)|column 'v' has the unknown type 'interval'"
    with pytest.raises(DeclarationError, match=words):
        in_declared_columns(declared(NAME, columns=f"id int, v {kind}"), spark.sql("SELECT 1 AS id, 'x' AS v"))
