"""Asgard's own code against libraries that could replace it: readers, connections, Nessie, Feast's values.

Each reader gets a file with one difficult record between two plain ones, and must return the fields of all three; for a
malformed record, its whole text. Rates are measured on easy records.
"""

import csv
import io
import json
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.json
import pynessie
from pyarrow import csv as arrow_csv

from asgard.ingest import json_text
from asgard.ingest.delimited import Grammar, Parser
from asgard.lakehouse.catalog.nessie import Nessie, RefKind
from asgard.serving.codecs import feast_values
from asgard.serving.lookup.connections import KeptConnections
from asgard.serving.sync.sync import sync
from benchmarks.b06_first_load import record, send
from benchmarks.harness import Row, interleave, parse, ratio, report, spread
from benchmarks.online_view import OnlineView, feast_rows, feast_store, online_view

Rows = list[tuple[str | None, ...]]

CSV = (
    ("1,plain", ("1", "plain")),
    ('2,"a ""quoted"" word"', ("2", 'a "quoted" word')),
    ('3,"two\nlines"', ("3", "two\nlines")),
    ("4,", ("4", None)),
    ('5,""', ("5", "")),
    ("007,1.10", ("007", "1.10")),
    ("7,too,many", ("7,too,many",)),
    ("8", ("8",)),
    ('9,"quoted" and more', ('9,"quoted" and more',)),
    ("10,NA", ("10", "NA")),
    ("11,one\rtwo", ("11,one\rtwo",)),
    ("12,last", ("12", "last")),
)
"""A record's text, and its fields; for a malformed record, only its text."""
JSON = (
    ('{"a":"x","b":"1"}', ("x", "1")),
    ('{"a":"x","b":1}', ("x", "1")),
    ('{"a":"x","b":1.10}', ("x", "1.10")),
    ('{"a":"x","b":9007199254740993}', ("x", "9007199254740993")),
    ('{"a":"x","b":0.1000000000000000055}', ("x", "0.1000000000000000055")),
    ('{"a":"x","b":123456789012345678901234567890}', ("x", "123456789012345678901234567890")),
    ('{"a":"x","b":{"c":1.10}}', ("x", '{"c":1.10}')),
    ('{"a":"x"}', ("x", None)),
    ('{"a":"x","a":"y"}', ('{"a":"x","a":"y"}',)),
    ('{"a":"x","b":', ('{"a":"x","b":',)),
    ("[1]", ("[1]",)),
    ('{"a":"","b":"null"}', ("", "null")),
)


def own_csv(text: str) -> Rows:
    found: Rows = []
    for batch in Parser([text], Grammar(",", '"'), "x.csv").batches(2):
        for *values, corrupt in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            found.append(tuple(values) if corrupt is None else (corrupt,))
    return found


def arrow_csv_rows(text: str) -> Rows:
    bad: list[str] = []

    def malformed(row: Any) -> str:
        bad.append(row.text)
        return "skip"

    table = arrow_csv.read_csv(
        pa.BufferReader(text.encode()),
        arrow_csv.ReadOptions(column_names=["0", "1"], use_threads=False, block_size=1 << 24),
        arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=malformed),
        arrow_csv.ConvertOptions(
            column_types={"0": pa.string(), "1": pa.string()},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    return [*(tuple(row.values()) for row in table.to_pylist()), *((each,) for each in bad)]


def pandas_csv_rows(text: str) -> Rows:
    bad: list[list[str]] = []
    frame = pd.read_csv(
        io.StringIO(text),
        header=None,
        names=["0", "1"],
        dtype=str,
        na_values=[""],
        keep_default_na=False,
        engine="python",
        on_bad_lines=lambda fields: bad.append(fields),
        index_col=False,
    )
    rows = frame.astype(object).where(frame.notna(), None).itertuples(index=False, name=None)
    return [*rows, *((",".join(each),) for each in bad)]


def duckdb_csv_rows(text: str) -> Rows:
    with tempfile.NamedTemporaryFile("w", suffix=".csv", newline="") as file:
        file.write(text)
        file.flush()
        connection = duckdb.connect()
        options = "header=false, all_varchar=true, columns={'a': 'VARCHAR', 'b': 'VARCHAR'}, store_rejects=true, "
        options += "auto_detect=false, delim=',', quote='\"', escape='\"'"
        rows = connection.execute(f"SELECT a, b FROM read_csv('{file.name}', {options})").fetchall()
        bad = connection.execute("SELECT csv_line FROM reject_errors").fetchall()
    return [*rows, *bad]


def own_json(text: str) -> Rows:
    records = json_text.json_lines([text], "x.jsonl")
    return [(each,) if isinstance(each, str) else (each.get("a"), each.get("b")) for each in records]


def arrow_json_rows(text: str) -> Rows:
    schema = pa.schema([("a", pa.string()), ("b", pa.string())])
    options = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    table = pa.json.read_json(pa.BufferReader(text.encode()), parse_options=options)
    return [tuple(row.values()) for row in table.to_pylist()]


def pandas_json_rows(text: str) -> Rows:
    frame = pd.read_json(io.StringIO(text), lines=True, dtype=False, convert_dates=False)
    rows = frame.astype(object).where(frame.notna(), None).itertuples(index=False, name=None)
    return [
        tuple(None if each is None else each if isinstance(each, str) else str(each) for each in row) for row in rows
    ]


def duckdb_json_rows(text: str) -> Rows:
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.write(text)
        file.flush()
        options = "format='newline_delimited', columns={'a': 'VARCHAR', 'b': 'VARCHAR'}, ignore_errors=true"
        return duckdb.connect().execute(f"SELECT a, b FROM read_json('{file.name}', {options})").fetchall()


CSV_READERS = {
    "own": own_csv,
    "pyarrow": arrow_csv_rows,
    "pandas": pandas_csv_rows,
    "DuckDB": duckdb_csv_rows,
}
JSON_READERS = {
    "own": own_json,
    "pyarrow": arrow_json_rows,
    "pandas": pandas_json_rows,
    "DuckDB": duckdb_json_rows,
}


def spark_readers(made: OnlineView) -> tuple[Callable[[str], Rows], Callable[[str], Rows]]:
    """Return Spark's own readers of both formats."""

    def read(kind: str, text: str, **options: Any) -> Rows:
        path = made.folder / f"{secrets.token_hex(4)}.{kind}"
        path.write_bytes(text.encode())
        reader = made.lake.spark.read.schema("a string, b string, bad string")
        reader = reader.options(mode="PERMISSIVE", columnNameOfCorruptRecord="bad", **options)
        rows = reader.format(kind).load(path.as_uri()).cache().collect()
        return [(row["bad"],) if row["bad"] is not None else (row["a"], row["b"]) for row in rows]

    return (
        lambda text: read("csv", text, multiLine=True, escape='"', nullValue=None, emptyValue=""),
        lambda text: read("json", text, primitivesAsString=True),
    )


def right(reader: Callable[[str], Rows], records: Sequence[tuple[str, tuple[str | None, ...]]]) -> str:
    """Count the records that a reader returns correctly, each in a file between two plain records."""
    first, last = records[0], records[-1]
    count = 0
    for text, fields in records:
        with suppress(Exception):  # a reader that refuses the whole file returns no record
            found = reader("".join(f"{each}\n" for each in (first[0], text, last[0])))
            count += sorted(found, key=repr) == sorted((first[1], fields, last[1]), key=repr)
    return f"{count} of {len(records)}"


def readers(kind: str, sides: dict[str, Any], records: Any, easy: str, count: int, rounds: int) -> list[Row]:
    """Measure the readers of one format."""
    rows = [Row(f"{kind}: records right, {name}", right(reader, records)) for name, reader in sides.items()]
    fast = {name: (lambda reader=reader: reader(easy)) for name, reader in sides.items() if name in ("own", "pyarrow")}
    seconds = interleave(fast, rounds)
    rate = count / statistics.median(seconds["own"])
    times = ratio(seconds["own"], seconds["pyarrow"])
    return [
        *rows,
        Row(f"{kind}: {count:,} easy records, own", f"{rate:,.0f}/s; {times:.1f} x the time of pyarrow's reader"),
    ]


def connections(made: OnlineView, calls: int) -> list[Row]:
    """Measure one MGET by redis-py's client and by a kept connection."""
    client = made.store.client
    client.flushall()
    client.set("x", b"0" * 100)
    kept = KeptConnections(client)
    sides = {"own": lambda: kept.read([("MGET", "x")]), "redis-py": lambda: client.mget(["x"])}
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(calls):
        for name in sorted(sides, reverse=bool(number % 2)):
            start = time.perf_counter()
            sides[name]()
            times[name].append(time.perf_counter() - start)
    own, theirs = (1e6 * statistics.median(times[name]) for name in ("own", "redis-py"))
    return [
        Row(
            "one MGET of one key, kept connection",
            f"p50 {own:.0f} us; redis-py's client {theirs:.0f} us, {theirs / own:.2f} x",
        )
    ]


def nessie(made: OnlineView, calls: int) -> list[Row]:
    """Measure creating, reading and dropping a branch."""
    uri = made.lake.nessie.uri
    mine = Nessie(uri)
    config = {"endpoint": f"{uri}/api/v1", "verify": True, "default_branch": "main", "auth": {"type": "none"}}
    theirs: Any = pynessie.init(config_dict=config)

    def own() -> None:
        name = mine.create(RefKind.BRANCH, f"x{secrets.token_hex(4)}", mine.head("main"), "main").name  # type: ignore[arg-type]
        mine.delete(mine.reference(name))

    def pynessies() -> None:
        name = f"x{secrets.token_hex(4)}"
        theirs.create_branch(name, "main", theirs.get_reference("main").hash_)
        theirs.delete_branch(name, theirs.get_reference(name).hash_)

    times: dict[str, list[float]] = {"own": [], "pynessie": []}
    for _ in range(calls):
        for name, side in (("own", own), ("pynessie", pynessies)):
            start = time.perf_counter()
            side()
            times[name].append(time.perf_counter() - start)
    first, second = (1e3 * statistics.median(times[name]) for name in times)
    return [
        Row(
            "a branch made, read and dropped, own client",
            f"{first:.1f} ms; pynessie {second:.1f} ms, {ratio(times['pynessie'], times['own']):.1f} x",
        )
    ]


def feast_values_rows(made: OnlineView, rows: int, rounds: int) -> list[Row]:
    """Measure B6 with codec feast, which uses Feast's own class, and decoding; B6's aims are for codec packed."""
    client = made.store.client
    feast, given = feast_store(made), feast_rows(made)
    recorded = record(made)

    def load() -> None:
        client.flushall()
        assert sync(made.lake, made.store, made.view, say=lambda _line: None).rows == rows

    def ceiling() -> None:
        client.flushall()
        client.hset(made.store.keys(made.view.name).state, "token", recorded.token)
        send(made.store.where, recorded)

    def by_feast() -> None:
        client.flushall()
        feast.write_to_online_store("customers", df=given)

    seconds = interleave({"asgard": load, "ceiling": ceiling, "feast": by_feast}, rounds)
    feast_rate = statistics.median(len(given) / each for each in seconds["feast"])
    rate = statistics.median(rows / each for each in seconds["asgard"])
    content = feast_values.values(pa.array([number / 7 for number in range(20_000)]), "double")
    decoded = interleave({"read": lambda: [feast_values.value(each, "double") for each in content]}, rounds)["read"]
    return [
        Row("first load by codec feast", f"{spread(seconds['asgard'])}; {rate:,.0f} entities/s"),
        Row("its rate against the ceiling", f"{ratio(seconds['ceiling'], seconds['asgard']):.2f} x"),
        Row("against Feast's writer", f"{rate / feast_rate:.1f} x faster"),
        Row("one of its doubles read back", f"{1e6 * statistics.median(decoded) / len(content):.2f} us"),
    ]


def main() -> None:
    """Run the benchmark."""
    options = parse(__doc__)
    rows, calls = (50_000, 300) if options.quick else (1_000_000, 2_000)
    count = 20_000 if options.quick else 200_000
    easy_csv = io.StringIO()
    csv.writer(easy_csv, lineterminator="\n").writerows((number, f"text {number}") for number in range(count))
    easy_json = "".join(json.dumps({"a": f"text {number}", "b": str(number)}) + "\n" for number in range(count))
    with online_view("feast") as made:
        spark_csv, spark_json = spark_readers(made)
        lines = [
            *readers("CSV", {**CSV_READERS, "Spark": spark_csv}, CSV, easy_csv.getvalue(), count, options.rounds),
            *readers("JSON", {**JSON_READERS, "Spark": spark_json}, JSON, easy_json, count, options.rounds),
            *connections(made, calls * 5),
            *nessie(made, calls // 5),
        ]
        made.publish(rows)
        lines += feast_values_rows(made, rows, options.rounds)
    report("own_code", "Own code, beside the libraries", f"{rows:,} entities x 10 doubles", lines, quick=options.quick)


if __name__ == "__main__":
    main()
