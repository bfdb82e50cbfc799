"""B7: a sync after one row in a hundred changed, and after only the files changed, against a full reload."""

import time
from statistics import median

from asgard.serving.sync.plan import Mode
from asgard.serving.sync.sync import sync
from benchmarks.harness import Row, parse, ratio, report, spread
from benchmarks.online_view import FEATURES, online_view


def main() -> None:
    """Run the benchmark."""
    options = parse(__doc__)
    rows = 50_000 if options.quick else 1_000_000
    changed: list[float] = []
    full: list[float] = []
    moved: list[float] = []
    with online_view() as made:
        made.publish(rows)

        def timed(mode: Mode, written: int, seconds: list[float], *, whole: bool = False) -> None:
            began = time.perf_counter()
            done = sync(made.lake, made.store, made.view, full=whole, say=lambda _line: None)
            seconds.append(time.perf_counter() - began)
            assert (done.mode, done.counted.written, done.rows) == (mode, written, rows)

        timed(Mode.REBUILD, rows, [])
        for number in range(options.rounds + 1):
            count = [] if number == 0 else None  # the first round warms up
            made.publish(rows, day=number + 1, every=100)
            timed(Mode.CHANGES, rows // 100, changed if count is None else count)
            timed(Mode.REBUILD, rows, full if count is None else count, whole=True)
            made.rewrite()
            timed(Mode.CHANGES, 0, moved if count is None else count)
    report(
        "b07_sync",
        "B7: an incremental sync of the online store",
        f"{rows:,} entities x {len(FEATURES)} doubles, 1 % changed, {options.rounds} rounds",
        [
            Row("a full reload", spread(full)),
            Row("after 1 % of the rows changed", spread(changed)),
            Row("after every file was rewritten with the same rows", spread(moved)),
            Row("changed against full", f"{ratio(changed, full):.1%} of its time", "<= 10 %"),
            Row("writes after files alone changed", "0", "0"),
            Row("rows a second in a full reload", f"{rows / median(full):,.0f}"),
        ],
        quick=options.quick,
    )


if __name__ == "__main__":
    main()
