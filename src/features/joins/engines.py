"""The engine that reads a view's rows: DuckDB on this machine, or Spark. Both give the same rows."""

from enum import StrEnum

from asgard.common.settings import Settings


class Engine(StrEnum):
    """DuckDB on this machine, or Spark."""

    AUTO = "auto"
    DUCKDB = "duckdb"
    SPARK = "spark"


def choose(settings: Settings, asked: Engine, rows: int) -> tuple[Engine, str]:
    """The engine for this many rows, and the reason."""
    if asked is not Engine.AUTO:
        return asked, "asked for"
    limit = settings.point_in_time_rows
    if rows > limit:
        return Engine.SPARK, f"{rows:,} feature rows are more than {limit:,} (point_in_time_rows)"
    return Engine.DUCKDB, f"{rows:,} feature rows are no more than {limit:,} (point_in_time_rows)"
