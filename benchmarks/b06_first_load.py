"""B6: the first load of a million entities into Redis, against the same commands sent as fast as Redis accepts them.

The ceiling sends exactly the bytes that Asgard sends, encoded beforehand, through one socket, and counts the replies:
it reads no Parquet and encodes nothing. Feast's writer writes fewer rows, and its rate is compared.
"""

import socket
import statistics
import threading
import time
from typing import Any

import hiredis

from asgard.serving.sync.plan import Mode
from asgard.serving.sync.sync import sync
from benchmarks.harness import Row, interleave, parse, ratio, report, spread
from benchmarks.online_view import FEAST_ROWS, FEATURES, OnlineView, feast_rows, feast_store, online_view


def main() -> None:
    """Run the benchmark."""
    options = parse(__doc__)
    rows = 50_000 if options.quick else 1_000_000
    with online_view() as made:
        made.publish(rows)
        client = made.store.client
        feast, given = feast_store(made), feast_rows(made)
        recorded = record(made)

        def load() -> None:
            client.flushall()
            done = sync(made.lake, made.store, made.view, say=lambda _line: None)
            assert (done.mode, done.rows) == (Mode.REBUILD, rows)

        def ceiling() -> None:
            client.flushall()
            client.hset(made.store.keys(made.view.name).state, "token", recorded.token)
            send(made.store.where, recorded)
            assert client.dbsize() >= rows

        def by_feast() -> None:
            client.flushall()
            feast.write_to_online_store("customers", df=given)
            assert client.dbsize() == len(given)

        seconds = interleave({"asgard": load, "ceiling": ceiling, "feast": by_feast}, options.rounds)
    feast_rate = statistics.median(len(given) / each for each in seconds["feast"])
    rate = statistics.median(rows / each for each in seconds["asgard"])
    report(
        "b06_first_load",
        "B6: the first load of the online store",
        f"{rows:,} entities x {len(FEATURES)} doubles, {options.rounds} rounds",
        [
            Row("`asgard online-sync`, Parquet to Redis", f"{spread(seconds['asgard'])}; {rate:,.0f} entities/s"),
            Row("the same commands, encoded beforehand", spread(seconds["ceiling"])),
            Row(f"Feast's writer, {FEAST_ROWS:,} rows", f"{spread(seconds['feast'])}; {feast_rate:,.0f} entities/s"),
            Row("its rate against the ceiling", f"{ratio(seconds['ceiling'], seconds['asgard']):.2f} x", ">= 0.7 x"),
            Row("against Feast's writer", f"{rate / feast_rate:.0f} x faster", ">= 5 x"),
        ],
        quick=options.quick,
    )


class Recorded:
    """What a sync sent: the bytes of its script calls, their number, and their token."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.calls = 0
        self.token = ""


def record(made: OnlineView) -> Recorded:
    """Record the bytes of one first load."""
    from redis.connection import Connection

    found, send_packed = Recorded(), Connection.send_packed_command

    def listen(self: Any, command: Any, check_health: bool = True) -> None:
        parts = [command] if isinstance(command, bytes) else list(command)
        calls = sum(part.count(b"\r\nEVALSHA\r\n") for part in parts)
        if calls:
            found.sent += parts
            found.calls += calls
        send_packed(self, parts, check_health)

    Connection.send_packed_command = listen
    try:
        made.store.client.flushall()
        sync(made.lake, made.store, made.view, say=lambda _line: None)
    finally:
        Connection.send_packed_command = send_packed
    found.token = made.store.client.hget(made.store.keys(made.view.name).state, "token").decode()
    return found


def send(where: str, recorded: Recorded) -> None:
    """Send everything, and read every reply meanwhile."""
    host, _, port = where.removeprefix("redis://").partition("/")[0].partition(":")
    with socket.create_connection((host, int(port))) as connection:
        reader, replies = hiredis.Reader(), 0

        def feed() -> None:
            for part in recorded.sent:
                connection.sendall(part)

        sender = threading.Thread(target=feed)
        sender.start()
        deadline = time.monotonic() + 600
        while replies < recorded.calls:
            assert time.monotonic() < deadline
            reader.feed(connection.recv(65_536))
            while (reply := reader.gets()) is not False:
                assert not isinstance(reply, Exception), reply
                replies += 1
        sender.join()


if __name__ == "__main__":
    main()
