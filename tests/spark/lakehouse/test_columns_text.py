"""Asgard reads `columns=` as Spark's own parser does: the same names and types, and nothing that Spark refuses."""

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.errors import PySparkException
from pyspark.sql.types import StructType
from tests.support.examples import examples

from asgard.common.data_type import DataType
from asgard.common.errors import DeclarationError
from asgard.lakehouse.declaring.columns_text import read_columns

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PLAIN = [
    *("boolean", "byte", "tinyint", "short", "smallint", "int", "integer", "long", "bigint", "float", "real", "double"),
    *("date", "timestamp", "timestamp_ltz", "timestamp_ntz", "string", "binary", "variant"),
    *("decimal", "dec", "numeric(7)", "decimal(12,3)", "decimal(38,38)"),
]
NAMES = st.sampled_from(["id", "Name", "x_1", "`odd name`", "`a.b`", "`straße`", "date", "_raw"])


def fields(inner: st.SearchStrategy[str], colon: bool) -> st.SearchStrategy[str]:
    sign = st.sampled_from([": ", " ", ":"] if colon else [" "])
    remark = st.sampled_from(["", "", " NOT NULL", " COMMENT 'it''s, <odd>'", ' comment "x"'])
    one = st.tuples(NAMES, sign, inner, remark).map("".join)
    return st.lists(one, min_size=1, max_size=4).map(", ".join)


TYPES = st.recursive(
    st.sampled_from(PLAIN + [kind.upper() for kind in PLAIN]),
    lambda inner: st.one_of(
        inner.map(lambda kind: f"array<{kind}>"),
        st.tuples(st.sampled_from(["string", "int", "date"]), inner).map(lambda pair: f"map<{pair[0]},{pair[1]}>"),
        fields(inner, colon=True).map(lambda text: f"struct<{text}>"),
    ),
    max_leaves=4,
)
GOOD = fields(TYPES, colon=False)
BAD = st.tuples(GOOD, st.integers(0, 60), st.sampled_from("<>(),:'`x ")).map(
    lambda each: each[0][: each[1]] + each[2] + each[0][each[1] + 1 :]
)


@pytest.mark.parametrize("texts", [GOOD, BAD], ids=["good", "damaged"])
def test_as_spark_reads_it(spark: "SparkSession", texts: st.SearchStrategy[str]) -> None:
    @given(texts)
    @settings(max_examples=examples(120), deadline=None, suppress_health_check=list(HealthCheck))
    def compare(text: str) -> None:
        try:
            ours = read_columns(text)
        except DeclarationError as refused:
            assert texts is BAD or "twice" in refused.message, refused  # noqa: PT017 - only damage may be refused
            return
        try:
            theirs = StructType.fromDDL(text)
        except PySparkException:
            assert texts is BAD
            return
        assert isinstance(theirs, StructType)
        names = {field.name: field.dataType.simpleString() for field in theirs.fields}
        assert ours == names
        assert {column: str(DataType.parse(name)) for column, name in names.items()} == names

    compare()


@pytest.mark.parametrize("text", PLAIN)
def test_a_single_type_is_the_one_that_spark_takes_it_for(spark: "SparkSession", text: str) -> None:
    spelled = text.upper().replace("(", " ( ").replace(",", " , ")
    for each in (text, spelled):
        theirs = StructType.fromDDL(f"x array<{each}>")["x"].dataType
        assert str(DataType.parse(f"array<{each}>")) == theirs.simpleString()
