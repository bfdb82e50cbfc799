"""Declaring a table: what is derived, and every way in which a declaration is refused."""

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pytest

from asgard.common.errors import DeclarationError, UsageError
from asgard.common.names import TableName
from asgard.lakehouse.declaring.declaration import (
    Contract,
    Daily,
    EmptyInput,
    Hourly,
    Monthly,
    PartitionField,
    Table,
    Weekly,
    WriteMode,
    Yearly,
    declare_table,
)
from asgard.lakehouse.declaring.intervals import Cadence, Unit
from asgard.validation.checks import not_null, row_count

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

ORDERS = {"orders": "silver.orders"}


def one_input(orders: "DataFrame") -> "DataFrame":
    """All orders,
    as they are.

    More about them.
    """
    return orders


def with_interval(orders: "DataFrame", interval: object) -> "DataFrame":
    return orders


class TestWhatIsDerived:
    def test_a_source_is_appended_to(self) -> None:
        table = declare_table("bronze.orders")
        assert (table.mode, table.function, table.takes_interval) == (WriteMode.APPEND, None, False)

    def test_a_table_without_interval_is_replaced(self) -> None:
        table = declare_table("gold.orders", one_input, inputs=ORDERS)
        assert (table.mode, table.partitioned_by) == (WriteMode.REPLACE, ())
        assert table.inputs == {"orders": TableName("silver", "orders")}

    @pytest.mark.parametrize(
        ("cadence", "partition"),
        [
            (Hourly("at"), "hour(at)"),
            (Daily("at"), "day(at)"),
            (Weekly("at"), "day(at)"),
            (Monthly("at"), "month(at)"),
            (Yearly("at"), "year(at)"),
        ],
    )
    def test_a_table_with_interval_is_overwritten_by_it(self, cadence: Cadence, partition: str) -> None:
        table = declare_table("gold.orders", with_interval, inputs=ORDERS, interval=cadence)
        assert (table.mode, table.partitioned_by) == (WriteMode.OVERWRITE_INTERVAL, (partition,))
        assert table.takes_interval

    def test_lookback_and_unit(self) -> None:
        assert Daily("at", lookback=3) == Cadence("at", Unit.DAY, 3)

    def test_the_description_is_the_docstrings_first_paragraph(self) -> None:
        assert declare_table("gold.a", one_input, inputs=ORDERS).description == "All orders, as they are."
        assert declare_table("gold.a", one_input, inputs=ORDERS, description="").description == ""
        assert declare_table("bronze.a").description == ""

    @pytest.mark.parametrize("start", ["2024-01-31", date(2024, 1, 31), datetime(2024, 1, 31, tzinfo=UTC)])
    def test_start_and_end_are_moments(self, start: Any) -> None:
        table = declare_table("bronze.a", start=start, end="2024-02-01")
        assert (table.start, table.end) == (datetime(2024, 1, 31, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC))

    def test_words_become_members(self) -> None:
        table = declare_table("silver.a", one_input, inputs=ORDERS, mode="append", contract="frozen", on_empty="fail")
        assert (table.mode, table.contract, table.on_empty) == (WriteMode.APPEND, Contract.FROZEN, EmptyInput.FAIL)

    def test_a_finer_partition_and_others_beside_it_are_fine(self) -> None:
        fields = ("hour(at)", "bucket(16, customer_id)")
        table = declare_table("gold.a", with_interval, inputs=ORDERS, interval=Monthly("at"), partitioned_by=fields)
        assert table.partition_fields == (
            PartitionField("at", "hour"),
            PartitionField("customer_id", "bucket", 16),
        )


class TestPartitionFields:
    @pytest.mark.parametrize(
        ("text", "field"),
        [
            ("country", PartitionField("country")),
            (" day(at) ", PartitionField("at", "day")),
            ("truncate(4,name)", PartitionField("name", "truncate", 4)),
        ],
    )
    def test_read(self, text: str, field: PartitionField) -> None:
        assert PartitionField.parse(text) == field

    @pytest.mark.parametrize("text", ["", "week(at)", "bucket(at)", "bucket(x, at)", "day(at", "a b", "day(at); DROP"])
    def test_refused(self, text: str) -> None:
        with pytest.raises(DeclarationError, match="is not a partition field"):
            PartitionField.parse(text)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "inputs without function": ({"function": None, "inputs": ORDERS}, "it has inputs but no function"),
    "parameter that is no input": ({"inputs": {}}, r"its function takes \(orders\) but its inputs are \(\)"),
    "input that is no parameter": ({"inputs": {**ORDERS, "more": "silver.more"}}, r"its inputs are \(more, orders\)"),
    "interval asked for, none declared": ({"function": with_interval}, "its function takes `interval`"),
    "merge without keys": ({"mode": "merge"}, "mode merge needs keys"),
    "overwrite_interval without interval": (
        {"mode": "overwrite_interval"},
        "mode overwrite_interval needs an interval",
    ),
    "unknown mode": ({"mode": "upsert"}, "mode is 'upsert'"),
    "unknown contract": ({"contract": "loose"}, "contract is 'loose'"),
    "unknown on_empty": ({"on_empty": "skip"}, "on_empty is 'skip'"),
    "bronze that is replaced": ({"name": "bronze.orders"}, "bronze is append-only, but its mode is replace"),
    "bronze that is overwritten": (
        {"name": "bronze.orders", "interval": Daily("at")},
        "bronze is append-only, but its mode is overwrite_interval",
    ),
    "partitions coarser than the interval": (
        {"interval": Daily("at"), "partitioned_by": ("month(at)",)},
        r"its day intervals of 'at' can't be overwritten exactly on partitions month\(at\)",
    ),
    "partitions of another column": (
        {"interval": Daily("at"), "partitioned_by": ("country",)},
        "can't be overwritten exactly on partitions country",
    ),
    "start after end": ({"start": "2024-02-01", "end": "2024-01-01"}, "start 2024-02-01 .* is not before end"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_tables_name_and_a_hint(case: str) -> None:
    changes, message = REFUSED[case]
    given = {"name": "gold.orders", "function": one_input, "inputs": ORDERS, "module": "shop.py", **changes}
    with pytest.raises(DeclarationError, match=message) as refused:
        declare_table(**given)
    assert refused.value.message.startswith(f"Table {given['name']} (shop.py): ")
    assert refused.value.hint


def test_two_checks_of_one_name_are_refused() -> None:
    twice = (not_null("id"), row_count(1), not_null("id").warn())
    with pytest.raises(DeclarationError, match=r"gold\.orders declares more than one check named not_null\(id\)"):
        declare_table("gold.orders", one_input, inputs=ORDERS, checks=twice)
    named = (not_null("id"), not_null("id").warn().named("id again"))
    assert declare_table("gold.orders", one_input, inputs=ORDERS, checks=named).checks == named


def test_a_wrong_partition_field_is_refused() -> None:
    with pytest.raises(DeclarationError, match="is not a partition field"):
        declare_table("gold.orders", one_input, inputs=ORDERS, partitioned_by=("week(at)",))


@pytest.mark.parametrize("name", ["orders", "gold.Orders", "gold.orders.more", "gold.`x`", "gold.", "gold.o'; DROP"])
def test_names_of_tables_and_inputs_are_checked(name: str) -> None:
    with pytest.raises(UsageError, match="is not a table name"):
        declare_table(name)
    with pytest.raises(UsageError, match="is not a table name"):
        declare_table("gold.orders", one_input, inputs={"orders": name})


def test_a_wrong_start_is_refused() -> None:
    with pytest.raises(UsageError, match="'soon' is not a date"):
        declare_table("bronze.orders", start="soon")


def test_a_table_can_not_be_changed() -> None:
    table: Any = declare_table("bronze.orders")
    assert isinstance(table, Table)
    with pytest.raises(AttributeError):
        table.mode = WriteMode.MERGE


@pytest.mark.parametrize("mode", ["replace", "append"])
def test_an_interval_needs_a_mode_that_keeps_intervals_apart(mode: str) -> None:
    with pytest.raises(DeclarationError, match="can't be used with an interval"):
        declare_table("silver.a", lambda raw: raw, inputs={"raw": "bronze.a"}, interval=Daily("at"), mode=mode)
