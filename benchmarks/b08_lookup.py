"""B8: lookups of one and of a hundred entities, against redis-py for the same bytes, and against Feast's own.

Each side looks up the same entities; the order of the sides is random each time. Asgard and Feast return a dict of the
decoded features' lists, which must be equal; redis-py returns the stored bytes of the same keys, by one MGET. Times are
of single calls.
"""

import random
import time
from collections.abc import Callable
from statistics import median, quantiles
from typing import Any

from asgard.serving import OnlineStore
from asgard.serving.sync.sync import sync
from benchmarks.harness import Row, parse, report
from benchmarks.online_view import FEAST_ROWS, FEATURES, feast_rows, feast_store, online_view

MANY = 100
Columns = dict[str, list[Any]]


def main() -> None:
    """Run the benchmark."""
    options = parse(__doc__)
    rows, calls = (50_000, 1_000) if options.quick else (1_000_000, 5_000)
    with online_view() as made:
        made.publish(rows)
        sync(made.lake, made.store, made.view, say=lambda _line: None)
        feast = feast_store(made)
        feast.write_to_online_store("customers", df=feast_rows(made))
        store = OnlineStore(settings=made.lake.settings)
        client, name = made.store.client, made.view.name
        keys = made.store.keys(name)
        start, head = keys.row(made.store.synced(name).generation), keys.head.encode()
        wanted = [f"{name}:{feature}" for feature in FEATURES]

        def asgard(entities: list[int]) -> Columns:
            return store.lookup_many(name, [{"customer_id": entity} for entity in entities]).to_dict()

        def raw(entities: list[int]) -> list[Any]:
            found: list[Any] = client.mget([head, *(start + str(entity).encode() for entity in entities)])
            return found

        def by_feast(entities: list[int]) -> Columns:
            rows_of = [{"customer_id": entity} for entity in entities]
            columns: Columns = feast.get_online_features(features=wanted, entity_rows=rows_of).to_dict()
            return columns

        lines = []
        for size in (1, MANY):
            times = measure(size, calls, {"asgard": asgard, "raw": raw, "feast": by_feast})
            for side, title in (("asgard", "`OnlineStore`"), ("raw", "redis-py, MGET"), ("feast", "Feast")):
                lines.append(Row(f"{_so_many(size)}: {title}", _percentiles(times[side])))
            p50, p99 = (_ratio(times, "asgard", "raw", place) for place in (50, 99))
            lines.append(Row(f"{_so_many(size)} against redis-py", f"p50 {p50:.2f} x, p99 {p99:.2f} x", "<= 1.3 x"))
            p50, p99 = (_ratio(times, "feast", "asgard", place) for place in (50, 99))
            lines.append(Row(f"{_so_many(size)} against Feast", f"p50 {p50:.1f} x, p99 {p99:.1f} x faster", ">= 5 x"))
    report(
        "b08_lookup",
        "B8: lookups in the online store",
        f"{rows:,} entities x {len(FEATURES)} doubles, {calls:,} calls of one entity and of {MANY}",
        lines,
        quick=options.quick,
    )


def measure(size: int, calls: int, sides: dict[str, Callable[[list[int]], Any]]) -> dict[str, list[float]]:
    """Measure the seconds of each call, with the sides in random order, since Feast leaves the CPU's caches cold."""
    drawn = random.Random(8)
    times: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(calls + 20):
        entities = [drawn.randrange(FEAST_ROWS) for _ in range(size)]
        found = {}
        for side in drawn.sample(list(sides), len(sides)):
            began = time.perf_counter()
            found[side] = sides[side](entities)
            if number >= 20:
                times[side].append(time.perf_counter() - began)
        assert found["asgard"] == found["feast"]
        assert None not in found["raw"]
    return times


def _so_many(size: int) -> str:
    return f"{size} {'entity' if size == 1 else 'entities'}"


def _percentiles(seconds: list[float]) -> str:
    return f"p50 {median(seconds) * 1e6:,.0f} us, p99 {_at(seconds, 99) * 1e6:,.0f} us"


def _ratio(times: dict[str, list[float]], one: str, other: str, place: int) -> float:
    return _at(times[one], place) / _at(times[other], place)


def _at(seconds: list[float], place: int) -> float:
    return quantiles(seconds, n=100)[place - 1]


if __name__ == "__main__":
    main()
