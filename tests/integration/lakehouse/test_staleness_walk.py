"""A random graph, random events, random commands: no difference from a rebuild that `plan` did not name before.

The oracle is a loop over the rows of bronze: what each interval of each table would be if it was computed now.
It shares nothing with Asgard but the rows.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.conftest import Fresh
from tests.support.runs import rows_of, values, write_rows

from asgard import Daily, Hourly, Monthly, Pipeline, TimeRange, Weekly, Yearly
from asgard.common.errors import AsgardError, UsageError
from asgard.common.names import RunId, TableName
from asgard.jobs import backfill_job
from asgard.jobs.backfill_job import Params
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.intervals import Unit
from asgard.lakehouse.freshness.staleness import Condition
from asgard.lakehouse.runs.history import list_runs
from asgard.lakehouse.runs.revert import revert

START, DAYS = datetime(2024, 1, 1, tzinfo=UTC), 45
NOW = START + timedelta(days=200)
Row = tuple[int, datetime, int]
Bounds = Callable[[datetime, datetime], tuple[datetime | None, datetime]]
_HARMLESS = (Condition.CHECKS, Condition.DOCUMENTATION)


@dataclass(frozen=True)
class Kind:
    """One kind of gold table: its intervals, what an interval reads of silver, and how it is declared."""

    unit: Unit | None
    reads: Bounds
    is_sql: bool = False
    is_merged: bool = False


KINDS: Mapping[str, Kind] = {
    "three": Kind(Unit.DAY, lambda start, end: (start - timedelta(days=2), end)),
    "running": Kind(Unit.DAY, lambda _start, end: (None, end)),
    "hours": Kind(Unit.HOUR, lambda start, end: (start, end)),
    "weeks": Kind(Unit.WEEK, lambda start, end: (start, end)),
    "months": Kind(Unit.MONTH, lambda start, end: (start, end)),
    "sqlmonths": Kind(Unit.MONTH, lambda start, end: (start, end), is_sql=True),
    "years": Kind(Unit.YEAR, lambda start, end: (start, end)),
    "total": Kind(None, lambda _start, end: (None, end)),
    "merged": Kind(None, lambda _start, end: (None, end), is_merged=True),
}
_CADENCES = {Unit.HOUR: Hourly, Unit.DAY: Daily, Unit.WEEK: Weekly, Unit.MONTH: Monthly, Unit.YEAR: Yearly}
_BUCKETS = 3


def _between(rows: DataFrame, low: datetime | None, high: datetime) -> DataFrame:
    inside = F.col("at") < F.lit(high)
    return rows.where(inside if low is None else inside & (F.col("at") >= F.lit(low)))


def _function(kind: Kind) -> Callable[..., DataFrame]:
    """Sums of amounts by the start of the interval, each over what the interval reads."""
    unit, reads = kind.unit, kind.reads

    def total(silver: DataFrame) -> DataFrame:
        return silver.agg(F.sum("amount").alias("amount"))

    def merged(silver: DataFrame) -> DataFrame:
        return silver.groupBy((F.col("id") % _BUCKETS).alias("bucket")).agg(F.sum("amount").alias("amount"))

    def by_interval(silver: DataFrame, interval: TimeRange) -> DataFrame:
        assert unit is not None
        starts = list(unit.starts(interval))
        bounds = [(start, *reads(start, unit.shift(start, 1))) for start in starts]
        low = None if bounds[0][1] is None else min(bound[1] for bound in bounds if bound[1] is not None)
        rows = _between(silver, low, max(bound[2] for bound in bounds))
        frame = _literal(silver, bounds)
        near = (F.col("at") < F.col("high")) & (F.col("low").isNull() | (F.col("at") >= F.col("low")))
        return frame.join(rows, near).groupBy("start").agg(F.sum("amount").alias("amount"))

    if unit is None:
        return merged if kind.is_merged else total
    return by_interval


def _literal(silver: DataFrame, bounds: list[tuple[datetime, datetime | None, datetime]]) -> DataFrame:
    def text(moment: datetime | None) -> str:
        return "CAST(NULL AS timestamp)" if moment is None else f"timestamp'{moment:%Y-%m-%d %H:%M:%S}'"

    lines = ", ".join(f"({text(start)}, {text(low)}, {text(high)})" for start, low, high in bounds)
    return silver.sparkSession.sql(f"SELECT * FROM VALUES {lines} AS t(start, low, high)")


_SQL = """-- table: {name}
-- input silver: {silver}
-- interval: monthly(start)
SELECT date_trunc('month', at) AS start, sum(amount) AS amount
FROM silver WHERE at >= :start AND at < :end GROUP BY 1
"""


@dataclass
class World:
    """bronze -> silver (daily) -> some gold tables; and the rows of bronze as the oracle knows them."""

    lake: Lakehouse
    spark: SparkSession
    folder: Path
    suffix: str
    drawn: random.Random
    days: int = DAYS - 10
    factor: int = 1
    lookback: int = 0
    landed: int = 0
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kinds = sorted(self.drawn.sample(sorted(KINDS), 3))
        self.bronze, self.silver = TableName("bronze", self.suffix), TableName("silver", self.suffix)
        self.marker = self.folder / "fail"

    def gold(self, kind: str) -> TableName:
        return TableName("gold", f"{kind}_{self.suffix}")

    @property
    def end(self) -> datetime:
        return START + timedelta(days=self.days)

    def pipeline(self) -> Pipeline:
        """As declared now."""
        marker, factor = self.marker, self.factor
        made = Pipeline("walk", start="2024-01-01", end=f"{self.end:%Y-%m-%d}")
        made.source(str(self.bronze), columns="id bigint, at timestamp, amount bigint", interval=Daily("at"))

        @made.table(str(self.silver), inputs={"raw": str(self.bronze)}, interval=Daily("at", lookback=self.lookback))
        def silver(raw: DataFrame, interval: TimeRange) -> DataFrame:
            inside = _between(raw, interval.start, interval.end)
            return inside.select("id", "at", (F.col("amount") * factor).alias("amount"))

        for name in self.kinds:
            kind = KINDS[name]
            if kind.is_sql:
                path = self.folder / f"{name}.sql"
                path.write_text(_SQL.format(name=self.gold(name), silver=self.silver))
                made.sql(path)
                continue
            how: dict[str, Any] = {"interval": _CADENCES[kind.unit]("start")} if kind.unit else {}
            how |= {"mode": "merge", "keys": ["bucket"]} if kind.is_merged else {}
            compute = _failing(_function(kind), marker)
            made.table(str(self.gold(name)), inputs={"silver": str(self.silver)}, **how)(compute)
        return made

    def land(self, *days: int) -> RunId:
        """Ingest a row of each of some days, counted from the start; returns the run."""
        new = [
            (
                self.landed + number,
                START + timedelta(days=day, hours=self.drawn.randrange(24)),
                self.drawn.randrange(9),
            )
            for number, day in enumerate(days)
        ]
        self.rows += new
        self.landed += len(new)
        frame = values(self.spark, "id bigint, at timestamp, amount bigint", [list(row) for row in new])
        return write_rows(self.lake, self.pipeline()[self.bronze], frame).run_id

    def backfill(self, **params: Any) -> set[tuple[str, datetime | None]]:
        """The intervals that a backfill computed: the table's name and the start of each."""
        results = backfill_job.run(Params(now=NOW, **params), self.lake, self.pipeline(), lambda _line: None)
        computed: set[tuple[str, datetime | None]] = set()
        for result in results:
            for name, write in result.tables.items():
                unit = self._unit(name)
                for text in write["intervals"].split(","):
                    part = TimeRange.parse(*text.split("/")) if text else None
                    computed |= {(name, start) for start in (unit.starts(part) if unit and part else [None])}
        return computed

    def _unit(self, name: str) -> Unit | None:
        if name == str(self.silver):
            return Unit.DAY
        return next(KINDS[each].unit for each in self.kinds if str(self.gold(each)) == name)

    # The oracle

    def intervals(self, unit: Unit) -> Iterator[tuple[datetime, datetime]]:
        """The intervals that are declared."""
        start = unit.floor(START)
        while start < self.end:
            yield start, unit.shift(start, 1)
            start = unit.shift(start, 1)

    def silver_rows(self) -> list[Row]:
        """What silver would be."""
        return [(key, at, amount * self.factor) for key, at, amount in self.rows if at < self.end]

    def rebuilt(self) -> dict[str, dict[datetime | None, Any]]:
        """What each interval of each table would be: silver's as sorted rows, gold's as a sum."""
        silver = self.silver_rows()
        found: dict[str, dict[datetime | None, Any]] = {str(self.silver): {}}
        for start, end in self.intervals(Unit.DAY):
            inside = sorted((key, amount) for key, at, amount in silver if start <= at < end)
            if inside:
                found[str(self.silver)][start] = inside
        for name in self.kinds:
            kind, sums = KINDS[name], found.setdefault(str(self.gold(name)), {})
            if kind.is_merged:
                buckets = {key % _BUCKETS for key, _, _ in silver}
                sums[None] = [(each, sum(row[2] for row in silver if row[0] % _BUCKETS == each)) for each in buckets]
                continue
            if kind.unit is None:
                sums[None] = sum(amount for _, _, amount in silver) if silver else None
                continue
            for start, end in self.intervals(kind.unit):
                low, high = kind.reads(start, end)
                read = [amount for _, at, amount in silver if (low is None or at >= low) and at < high]
                if read:
                    sums[start] = sum(read)
        return found

    def published(self) -> dict[str, dict[datetime | None, Any]]:
        """What each interval of each table is."""
        found: dict[str, dict[datetime | None, Any]] = {str(self.silver): {}}
        with suppress(AsgardError):
            for key, at, amount in rows_of(self.lake, self.silver, "id", "at", "amount"):
                day = at.astimezone(UTC).replace(hour=0)
                found[str(self.silver)].setdefault(day, []).append((key, amount))
        found[str(self.silver)] = {day: sorted(rows) for day, rows in found[str(self.silver)].items()}
        for name in self.kinds:
            sums = found.setdefault(str(self.gold(name)), {})
            with suppress(AsgardError):
                if KINDS[name].is_merged:
                    sums[None] = rows_of(self.lake, self.gold(name), "bucket", "amount")
                elif KINDS[name].unit is None:
                    sums[None] = rows_of(self.lake, self.gold(name), "amount")[0][0]
                else:
                    rows = rows_of(self.lake, self.gold(name), "start", "amount")
                    sums |= {start.astimezone(UTC): amount for start, amount in rows}
        return found

    def differences(self) -> set[tuple[str, datetime | None]]:
        """Intervals that are not what they would be."""
        now, then = self.rebuilt(), self.published()
        return {
            (table, start)
            for table in now
            for start in now[table].keys() | then[table].keys()
            if now[table].get(start) != then[table].get(start)
        }

    def named(self) -> dict[tuple[str, datetime | None], Condition]:
        """Intervals that `plan` names."""
        plan = backfill_job.plan(self.lake, self.pipeline(), Params(now=NOW))
        return {
            (str(each.table), each.interval.start if each.interval else None): each.condition
            for each in plan.findings
            if each.condition not in _HARMLESS
        }

    def reads(self, table: str, start: datetime | None) -> set[datetime]:
        """The days of silver that an interval of a gold table reads."""
        name = next(each for each in self.kinds if str(self.gold(each)) == table)
        unit = KINDS[name].unit
        days = {day for day, _ in self.intervals(Unit.DAY)}
        if unit is None or start is None:
            return days
        low, high = KINDS[name].reads(start, unit.shift(start, 1))
        return {day for day in days if (low is None or Unit.DAY.shift(day, 1) > low) and day < high}


def _failing(function: Callable[..., DataFrame], marker: Path) -> Callable[..., DataFrame]:
    import functools

    @functools.wraps(function)
    def compute(**given: Any) -> DataFrame:
        if marker.exists():
            raise ValueError("not now")
        return function(**given)

    return compute


def _late(world: World) -> None:
    world.land(*(world.drawn.randrange(world.days) for _ in range(world.drawn.randrange(1, 3))))


def _later_end(world: World) -> None:
    world.days = min(world.days + world.drawn.randrange(1, 6), DAYS)
    world.land(world.days - 1)


def _new_code(world: World) -> None:
    world.factor += 1


def _foreign_delete(world: World) -> None:
    key = world.drawn.choice(world.silver_rows())[0]
    world.lake.spark.sql(f"DELETE FROM lake.silver.`{world.silver.name}@main` WHERE id = {key}")


def _range(world: World) -> None:
    first = world.drawn.randrange(world.days - 1)
    start = START + timedelta(days=first)
    window = TimeRange(start, start + timedelta(days=world.drawn.randrange(1, 4)))
    world.backfill(window=window, select=(str(world.silver),))


def _killed(world: World) -> None:
    _late(world)
    world.marker.touch()
    with suppress(AsgardError):
        world.backfill(stale=True, intervals_per_run=10)
    world.marker.unlink()


def _reverted_rows(world: World) -> None:
    landed, rows = world.land(world.drawn.randrange(world.days)), world.rows[-1:]
    if world.drawn.random() < 0.5:
        world.backfill(stale=True)
    revert(world.lake, landed, lambda _line: None)
    world.rows = [row for row in world.rows if row not in rows]


def _reverted_backfill(world: World) -> None:
    ran = (run for run in list_runs(world.lake, limit=5) if run.attempt.start["job"] == "backfill" and run.is_published)
    newest = next(ran, None)
    if newest is not None:
        with suppress(UsageError):  # later changes build on it
            revert(world.lake, newest.attempt.run_id, lambda _line: None)


def _repeated(world: World) -> None:
    world.backfill()


EVENTS = (
    _late,
    _late,
    _later_end,
    _new_code,
    _foreign_delete,
    _range,
    _killed,
    _repeated,
    _reverted_rows,
    _reverted_backfill,
)


@pytest.mark.parametrize("seed", [3, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(30) if seed != 3)])
def test_no_difference_is_unnamed_and_no_interval_is_computed_in_vain(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, tmp_path: Path, seed: int
) -> None:
    drawn = random.Random(seed)
    world = World(lake, spark, tmp_path, fresh.table().name, drawn, lookback=drawn.choice([0, 0, 2]))
    world.land(*(drawn.randrange(world.days) for _ in range(12)))
    world.backfill()
    assert (world.differences(), world.named()) == (set(), {})
    for _ in range(4):
        for event in drawn.sample(EVENTS, drawn.randrange(1, 3)):
            event(world)
        differences, named = world.differences(), world.named()
        assert differences <= named.keys(), (seed, sorted(differences - named.keys(), key=repr))
        silver = world.published()[str(world.silver)]
        computed = world.backfill(stale=True, changed=True)
        assert world.differences() == set(), seed
        assert world.named() == {}, seed
        assert differences <= computed, seed
        now = world.published()[str(world.silver)]
        changed = {day for day in silver.keys() | now.keys() if silver.get(day) != now.get(day)}
        vain = {each for each in computed if not is_needed(world, each, named.get(each), changed)}
        assert not vain, (seed, sorted(vain, key=repr))


def is_needed(
    world: World, interval: tuple[str, datetime | None], condition: Condition | None, changed: set[datetime]
) -> bool:
    """Whether an interval had to be computed: something was wrong with it alone, or a day that it reads changed."""
    table, start = interval
    if table == str(world.silver):
        return condition is not None or world.lookback > 0
    if condition in (None, Condition.INPUT):
        return bool(world.reads(table, start) & changed)
    return True
