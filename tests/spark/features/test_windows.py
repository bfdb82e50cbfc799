"""Windowed aggregates: at once = from partials = an oracle that is slow and obvious."""

import math
import random
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgard.common.errors import DeclarationError, UsageError
from asgard.features.windows import Windowed, aggregate, duration, windowed

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Event = tuple[int | None, datetime, float | None, Decimal | None, str | None]
START = datetime(2024, 3, 1, tzinfo=UTC)
SCHEMA = "customer int, at timestamp, amount double, price decimal(10,2), shop string"
DAYS = ("1d", "3d", "10d")
BY_DAY = windowed(
    keys=("customer",),
    at="at",
    aggregates=(
        aggregate("count", over=DAYS),
        aggregate("count", "amount", over=DAYS),
        aggregate("sum", "price", over=DAYS),
        aggregate("mean", "amount", over=DAYS),
        aggregate("stddev", "amount", over=DAYS),
        aggregate("min", "amount", over=DAYS),
        aggregate("max", "price", over=DAYS),
        aggregate("distinct", "shop", over=DAYS),
        aggregate("approx_distinct", "shop", over=DAYS),
        aggregate("last", "shop", over=DAYS),
    ),
)
BY_MINUTES = windowed(
    keys=("customer",),
    at="at",
    aggregates=(aggregate("count", over=("5m", "1h")), aggregate("last", "amount", over=("5m", "1h"))),
    precision="5m",
    every="5m",
)


def oracle(
    declared: Windowed, events: Sequence[Event], moments: Sequence[datetime]
) -> dict[tuple[Any, datetime], dict[str, Any]]:
    """Row by row, window by window."""
    found = {}
    for moment in moments:
        reach = moment - declared.longest - declared.every
        for customer in {event[0] for event in events if reach <= cut(declared, event[1]) < moment}:
            row: dict[str, Any] = {}
            for each in declared.aggregates:
                for window in each.over:
                    inside = [
                        event
                        for event in events
                        if event[0] == customer and moment - duration(window) <= cut(declared, event[1]) < moment
                    ]
                    row[each.feature(window)] = value_of(each.function, each.column, inside)
            found[customer, moment] = row
    return found


def cut(declared: Windowed, time: datetime) -> datetime:
    """The start of the bucket."""
    return time - (time - START) % declared.precision


def value_of(function: str, column: str | None, events: Sequence[Event]) -> Any:
    """One function of one column's values."""
    if column is None:
        return len(events)
    place = {"amount": 2, "price": 3, "shop": 4}[column]
    timed = [(event[1], event[place]) for event in events if event[place] is not None]
    values: list[Any] = [value for _, value in timed]
    match function:
        case "count":
            return len(values)
        case "sum":
            return sum(values, Decimal(0))
        case "mean":
            return math.fsum(values) / len(values) if values else None
        case "stddev":
            return statistics.stdev(values) if len(values) > 1 else None
        case "min":
            return min(values, default=None)
        case "max":
            return max(values, default=None)
        case "distinct" | "approx_distinct":
            return len(set(values))
        case _:
            return max(timed)[1] if timed else None  # type: ignore[type-var]


def some_events(seed: int, span: timedelta, count: int) -> list[Event]:
    """Random events of few customers, with nulls, ties and events at bucket borders."""
    choose = random.Random(seed)
    found: list[Event] = []
    for _ in range(count):
        time = START + timedelta(
            seconds=choose.choice([0, 1, 86_399, 300, 299]) + choose.randrange(0, int(span.total_seconds()), 300)
        )
        found.append(
            (
                choose.choice([1, 2, 3, None]),
                time,
                choose.choice([None, choose.uniform(-1e6, 1e6), 1e9 + choose.random()]),
                choose.choice([None, Decimal(choose.randrange(-9999, 9999)) / 100]),
                choose.choice([None, "a", "b", "c", "ä"]),
            )
        )
    return found


@pytest.mark.parametrize(
    ("declared", "span", "moments"),
    [
        (BY_DAY, timedelta(days=15), [START + timedelta(days=day) for day in (3, 12, 14, 27, 40)]),
        (BY_DAY, timedelta(days=15), [START + timedelta(days=12)]),
        (BY_MINUTES, timedelta(hours=3), [START + timedelta(minutes=5 * place) for place in range(1, 50, 3)]),
    ],
)
def test_at_once_and_from_partials_and_by_hand(
    spark: "SparkSession", declared: Windowed, span: timedelta, moments: list[datetime]
) -> None:
    events = some_events(len(moments), span, 400)
    frame = spark.createDataFrame(events, SCHEMA)
    expected = oracle(declared, events, moments)
    for found in (declared.compute(frame, moments), declared.combine(declared.partials(frame), moments)):
        rows = {(row["customer"], row["event_timestamp"].replace(tzinfo=UTC)): row.asDict() for row in found.collect()}
        assert set(rows) == set(expected)
        for key, wanted in expected.items():
            got = {name: rows[key][name] for name in wanted}
            assert {name: value for name, value in got.items() if not isinstance(value, float)} == {
                name: value for name, value in wanted.items() if not isinstance(value, float)
            }
            for name, value in wanted.items():
                if isinstance(value, float):
                    assert got[name] == pytest.approx(value, rel=1e-9, abs=1e-6), (key, name)


def test_a_key_that_falls_silent_gets_a_last_row_of_nothing(spark: "SparkSession") -> None:
    declared = windowed(keys="customer", at="at", aggregates=[aggregate("sum", "price", over="2d")])
    frame = spark.createDataFrame([(1, START, 1.0, Decimal("5.00"), "a")], SCHEMA)
    moments = [START + timedelta(days=day) for day in range(1, 6)]
    rows = declared.combine(declared.partials(frame), moments).orderBy("event_timestamp").collect()
    assert [(row["event_timestamp"].replace(tzinfo=UTC), row["price_sum_2d"]) for row in rows] == [
        (moments[0], Decimal("5.00")),
        (moments[1], Decimal("5.00")),
        (moments[2], Decimal("0.00")),
    ]


def test_both_ways_give_the_same_columns_and_types(spark: "SparkSession") -> None:
    frame = spark.createDataFrame([], SCHEMA)
    moments = [START]
    at_once, from_partials = BY_DAY.compute(frame, moments), BY_DAY.combine(BY_DAY.partials(frame), moments)
    assert at_once.schema.simpleString() == from_partials.schema.simpleString()
    assert at_once.columns == ["customer", "event_timestamp", "created_at", *BY_DAY.features]


@pytest.mark.parametrize("kind", ["5,0", "15,0", "15,2", "15,15", "16,2", "38,18"])
def test_decimals_of_every_length_are_added_up_exactly(spark: "SparkSession", kind: str) -> None:
    digits, scale = map(int, kind.split(","))
    greatest = Decimal(10 ** min(digits, 28) - 1).scaleb(-scale)
    declared = windowed(
        keys="customer",
        at="at",
        aggregates=[aggregate("sum", "price", over=DAYS), aggregate("mean", "price", over=DAYS)],
    )
    events = [
        (customer, START + timedelta(hours=7 * hour), greatest if hour % 3 else -greatest / 9)
        for customer in (1, 2)
        for hour in range(40)
    ]
    frame = spark.createDataFrame(events, "customer int, at timestamp, price decimal(38,18)").selectExpr(
        "customer", "at", f"CAST(price AS DECIMAL({kind})) AS price"
    )
    moments = [START + timedelta(days=day) for day in (1, 6, 13)]
    at_once, from_partials = declared.compute(frame, moments), declared.combine(declared.partials(frame), moments)
    assert at_once.schema.simpleString() == from_partials.schema.simpleString()
    assert at_once.count() == 6
    assert at_once.exceptAll(from_partials).isEmpty()


def test_a_row_is_known_when_the_last_of_its_events_is(spark: "SparkSession") -> None:
    declared = windowed(
        keys="customer", at="at", known_at="loaded", aggregates=[aggregate("count", over="2d")], every="1d"
    )
    late = START + timedelta(days=9)
    events = [
        (1, START, START + timedelta(hours=1)),
        (2, START, late),
        (2, START + timedelta(days=4), START + timedelta(days=4)),
    ]
    frame = spark.createDataFrame(events, "customer int, at timestamp, loaded timestamp")
    moments = [START + timedelta(days=day) for day in (1, 5)]
    for rows in (declared.compute(frame, moments), declared.combine(declared.partials(frame), moments)):
        found = {(row["customer"], row["event_timestamp"]): row["created_at"] for row in rows.collect()}
        assert {(key, time.replace(tzinfo=UTC)): known.replace(tzinfo=UTC) for (key, time), known in found.items()} == {
            (1, moments[0]): moments[0],
            (2, moments[0]): late,
            (2, moments[1]): moments[1],
        }


def test_events_may_have_a_column_named_like_those_of_partials(spark: "SparkSession") -> None:
    declared = windowed(keys="customer", at="at", aggregates=[aggregate("sum", "events", over="1d")])
    frame = spark.createDataFrame(
        [(1, START, START - timedelta(days=99), 7)], "customer int, at timestamp, bucket timestamp, events int"
    )
    moments = [START + timedelta(days=1)]
    for rows in (declared.compute(frame, moments), declared.combine(declared.partials(frame), moments)):
        assert [row["events_sum_1d"] for row in rows.collect()] == [7]


def test_a_moment_within_a_bucket_is_refused(spark: "SparkSession") -> None:
    with pytest.raises(UsageError, match="is not at the start of a bucket"):
        BY_DAY.compute(spark.createDataFrame([], SCHEMA), [START + timedelta(hours=1)])


class TestDeclarations:
    @given(st.integers(1, 999), st.sampled_from("mhdwy"))
    def test_lengths(self, number: int, unit: str) -> None:
        assert duration(f"{number}{unit}") == number * duration(f"1{unit}")

    @pytest.mark.parametrize("text", ["", "5", "0d", "5 d", "5s", "-1d", "1.5h"])
    def test_what_is_no_length(self, text: str) -> None:
        with pytest.raises(DeclarationError, match="not a duration"):
            duration(text)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"precision": "7m"}, "not a whole number"),
            ({"precision": "1h", "aggregates": [aggregate("count", over="5m")]}, "5m is not a whole number of 1h"),
            ({"every": "90m", "precision": "1h"}, "90m is not a whole number of 1h"),
            ({"aggregates": []}, "need keys and aggregates"),
            ({"aggregates": [aggregate("count", over="1d"), aggregate("count", over="1d")]}, "occur twice"),
            ({"keys": ("bucket",)}, "bucket would occur twice"),
            ({"keys": ("known_at",)}, "known_at would occur twice"),
            ({"keys": ("events",)}, "same name as a column of the partials"),
            (
                {"keys": ("x__sum",), "aggregates": [aggregate("sum", "x", over="1d")]},
                "same name as a column of the partials",
            ),
        ],
    )
    def test_what_can_not_work(self, change: dict[str, Any], message: str) -> None:
        given: dict[str, Any] = {"keys": ("customer",), "at": "at", "aggregates": [aggregate("count", over="1d")]}
        with pytest.raises(DeclarationError, match=message):
            windowed(**given | change)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [(("median", "x"), "not an aggregate"), (("sum",), "needs a column")],
    )
    def test_aggregates_that_can_not_work(self, arguments: tuple[str, ...], message: str) -> None:
        with pytest.raises(DeclarationError, match=message):
            aggregate(*arguments, over="1d")
