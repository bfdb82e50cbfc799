"""Verification of logged lookups against the published snapshots that they name: an offline join, by DuckDB.

Each entity's row is chosen from the snapshot by the view's rule, and compared in the snapshot's form, not in Redis's.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from asgard.common.errors import ContractError, UsageError
from asgard.common.names import CommitHash, TableName
from asgard.features.joins import duck
from asgard.features.pinned import PinnedTable, PinnedView, require_columns
from asgard.features.register import KIND
from asgard.features.types import to_arrow, to_duckdb
from asgard.features.views import Codec, FeatureView
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.registrations import Registrations
from asgard.lakehouse.catalog.snapshots import At
from asgard.serving.lookup_audit.json_values import plain, text, value_of
from asgard.serving.lookup_audit.log import FORMAT, shape_of
from asgard.serving.sync import changes

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN = 20
_LINES = 5_000
_CLOCKS_MICROS = 60_000_000
"""Greatest tolerated difference between the clocks of lookups and of publishes, in microseconds."""
_COLUMNS = {
    "line": "BIGINT",
    "asked_at": "BIGINT",
    "moment": "BIGINT",
    "view": "VARCHAR",
    "shape": "VARCHAR",
    "entity": "VARCHAR",
    "status": "VARCHAR",
    "event": "BIGINT",
    "features": "VARCHAR",
    "table_name": "VARCHAR",
    "snapshot": "BIGINT",
    "commit_hash": "VARCHAR",
}
_DIFFERS = "(status <> right_status OR event IS DISTINCT FROM right_event OR features <> right_features)"


@dataclass(frozen=True)
class Example:
    """A logged lookup that differs from its snapshot.

    Attributes:
        line: line number, counted over all logs together, from 1.
        differences: `status`, `event_timestamp` or a feature -> the logged value, and the snapshot's value.
    """

    line: int
    view: str
    entity: Mapping[str, Any]
    snapshot_id: int
    differences: Mapping[str, tuple[Any, Any]]


@dataclass
class Checked:
    """The result of checking a log of lookups; each count is of lines: one line for each entity and view.

    Attributes:
        lines: all lines.
        equal: lines that equal the snapshot that they name.
        later: lines that equal a later snapshot, published before the lookup: a sync was writing.
        differing: lines that differ from all of these snapshots.
        unchecked: reason why lines could not be checked -> number of lines.
        examples: some of the differing lines.
    """

    lines: int = 0
    equal: int = 0
    later: int = 0
    differing: int = 0
    unchecked: Counter[str] = field(default_factory=Counter)
    examples: list[Example] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "unchecked": dict(self.unchecked), "examples": [asdict(each) for each in self.examples]}


class _Group(NamedTuple):
    """Lookups of one view at one snapshot."""

    view: str
    shape: str
    table: str
    snapshot: int
    commits: Sequence[str]
    lines: int


def check(lake: Lakehouse, lines: Iterable[bytes]) -> Checked:
    """Compare a log, given as the lines that `LookupLog` wrote, with the snapshots that it names.

    Raises:
        ServiceError, EnvironmentSetupError: the lakehouse can't be read.
    """
    checked = Checked()
    with duck.connect(lake.settings) as connection:
        side = connection.cursor()  # reads and writes while rows are streamed from `connection`
        _load(side, lines, checked)
        for group in _groups(side):
            try:
                _check_group(lake, connection, side, group, checked)
            except (UsageError, ContractError) as error:
                checked.unchecked[error.message] += group.lines
    return checked


def _load(side: "DuckDBPyConnection", lines: Iterable[bytes], found: Checked) -> None:
    import pyarrow as pa

    schema = pa.schema([(name, pa.int64() if kind == "BIGINT" else pa.string()) for name, kind in _COLUMNS.items()])
    side.execute(f"CREATE TABLE logged ({', '.join(f'{name} {kind}' for name, kind in _COLUMNS.items())})")
    numbered = enumerate(lines, 1)
    while some := list(islice(numbered, _LINES)):
        rows = []
        for number, line in some:
            found.lines += 1
            try:
                rows.append(_row(number, json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
                found.unchecked["the line can't be read, or a newer Asgard wrote it"] += 1
        _insert(side, "logged", pa.Table.from_pylist(rows, schema))


def _row(number: int, raw: Mapping[str, Any]) -> dict[str, Any]:
    if raw["format"] != FORMAT:
        raise ValueError(raw["format"])
    event = raw["event_timestamp"]
    return {
        "line": number,
        "asked_at": _micros(datetime.fromisoformat(raw["at"])),
        "moment": _micros(datetime.fromisoformat(raw["moment"])),
        "view": str(raw["view"]),
        "shape": str(raw["shape"]),
        "entity": text(dict(raw["entity"])),
        "status": str(raw["status"]),
        "event": None if event is None else _micros(datetime.fromisoformat(event)),
        "features": text(dict(raw["features"])),
        "table_name": str(raw["table"]),
        "snapshot": int(raw["snapshot_id"]),
        "commit_hash": str(raw["commit"]),
    }


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _groups(side: "DuckDBPyConnection") -> list[_Group]:
    names = "view, shape, table_name, snapshot"
    sql = f"SELECT {names}, list(DISTINCT commit_hash), count(*) FROM logged GROUP BY {names} ORDER BY {names}"
    return [_Group(*row) for row in side.execute(sql).fetchall()]


def _check_group(
    lake: Lakehouse, connection: "DuckDBPyConnection", side: "DuckDBPyConnection", group: _Group, found: Checked
) -> None:
    table = _table(lake, group)
    view = _declared(lake, table, group)
    require_columns(view, table)
    side.execute(
        "CREATE OR REPLACE TABLE asked AS SELECT * FROM logged "
        "WHERE view = ? AND shape = ? AND table_name = ? AND snapshot = ?",
        [group.view, group.shape, group.table, group.snapshot],
    )
    _judge(connection, side, PinnedView(view, table))
    side.execute(f"CREATE OR REPLACE TABLE remaining AS FROM judged WHERE {_DIFFERS}")
    differing = _count(side, "remaining")
    if differing:
        _take_out_later(lake, connection, side, view, group)
    left = _count(side, "remaining")
    found.equal += group.lines - differing
    found.later += differing - left
    found.differing += left
    wanted = "line, entity, status, event, features, right_status, right_event, right_features"
    rows = side.execute(f"SELECT {wanted} FROM remaining ORDER BY line LIMIT {_SHOWN - len(found.examples)}").fetchall()
    found.examples += [_example(group, *row) for row in rows]


def _table(lake: Lakehouse, group: _Group) -> PinnedTable:
    """Load the table at the snapshot of a group.

    Raises:
        UsageError: the snapshot was collected.
    """
    for commit in group.commits:
        with suppress(UsageError):
            at = At(lake.target, CommitHash(commit))
            table = PinnedTable.load(lake, TableName.parse(group.table), at)
            if table.snapshot_id == group.snapshot:
                return table
    raise UsageError(f"{group.view}: snapshot {group.snapshot} of {group.table} was collected.")


def _declared(lake: Lakehouse, table: PinnedTable, group: _Group) -> FeatureView:
    """Find the declaration of the view at the time of these lookups.

    Raises:
        UsageError: no registered declaration matches, or several match that choose different rows.
    """
    rules: dict[tuple[str | None, ...], FeatureView] = {}
    for each in Registrations(lake.storage).history(KIND, group.view):
        view = FeatureView.from_json(each.declared)
        if view.table == table.name and _shape(table, view) == group.shape:
            rules[view.event_timestamp, view.created_timestamp, view.tie_break] = view
    if len(rules) != 1:
        raise UsageError(f"{group.view}: its declaration changed since the lookups, or is not registered.")
    return next(iter(rules.values()))


def _shape(table: PinnedTable, view: FeatureView) -> str:
    keys = {name: table.columns[name].type for name in view.keys if name in table.columns}
    features = {each.name: each.type for each in view.features}
    ttl = view.ttl.total_seconds() if view.ttl is not None else None
    return shape_of(str(view.codec), view.version, keys, features, ttl)


def _judge(connection: "DuckDBPyConnection", side: "DuckDBPyConnection", pinned: PinnedView) -> None:
    """Create table `judged`: the lookups in `asked`, with the snapshot's values in columns `right_...`."""

    view, columns = pinned.view, pinned.table.columns
    kinds = {name: columns[name].type for name in view.keys}
    keys = ", ".join(f"{duck.quoted(name)} {to_duckdb(kind)}" for name, kind in kinds.items())
    side.execute(f"CREATE OR REPLACE TABLE wanted ({keys})")
    entities = connection.sql("SELECT DISTINCT entity FROM asked").to_arrow_reader(_LINES)
    for batch in entities:
        _insert(side, "wanted", _typed(view, kinds, [json.loads(entity) for entity in batch.column(0).to_pylist()]))
    side.execute("CREATE OR REPLACE TABLE offline (entity VARCHAR, event BIGINT, features VARCHAR)")
    for batch in changes.rows(connection, pinned, changes.Changes("wanted", _count(side, "wanted"))):
        _insert(side, "offline", _offline(view, batch))
    nothing = duck.text(text(dict.fromkeys(view.feature_names)))
    oldest = f"moment - {round(view.ttl.total_seconds() * 1_000_000)}" if view.ttl is not None else "NULL"
    side.execute(
        f"""
        CREATE OR REPLACE TABLE judged AS
        SELECT asked.*, o.event AS right_event,
            CASE WHEN o.event IS NULL THEN 'missing' WHEN o.event < {oldest} THEN 'expired' ELSE 'found' END
                AS right_status,
            CASE WHEN right_status = 'found' THEN o.features ELSE {nothing} END AS right_features
        FROM asked LEFT JOIN offline AS o USING (entity)
        """
    )


def _typed(view: FeatureView, kinds: Mapping[str, str], entities: Sequence[Mapping[str, Any]]) -> "pa.Table":
    """Convert entities of a log to the types of the view's keys.

    Raises:
        UsageError: an entity does not fit the keys of the view.
    """
    import pyarrow as pa

    try:
        return pa.table(
            {
                name: pa.array([value_of(each[name], kind) for each in entities], to_arrow(kind))
                for name, kind in kinds.items()
            }
        )
    except (ValueError, KeyError, TypeError, ArithmeticError, pa.ArrowException) as error:
        raise UsageError(f"{view.name}: an entity of the log does not fit the keys of the view: {error}.") from error


def _offline(view: FeatureView, batch: "pa.RecordBatch") -> "pa.Table":
    """Convert rows of a snapshot to the form of a log."""
    import pyarrow as pa

    def texts(names: Sequence[str], kept: Callable[[Any], Any] = lambda value: value) -> "pa.Array":
        rows = zip(*(batch.column(name).to_pylist() for name in names), strict=True)
        texts_of_rows = [
            text({name: plain(kept(value)) for name, value in zip(names, row, strict=True)}) for row in rows
        ]
        return pa.array(texts_of_rows, pa.string())

    features = texts(view.feature_names, _whole_seconds) if view.codec is Codec.FEAST else texts(view.feature_names)
    return pa.table({"entity": texts(view.keys), "event": batch.column(changes.EVENT), "features": features})


def _whole_seconds(value: Any) -> Any:
    """Cut timestamps to whole seconds, as Feast stores them."""
    if isinstance(value, list):
        return [_whole_seconds(each) for each in value]
    return value.replace(microsecond=0) if isinstance(value, datetime) else value


def _take_out_later(
    lake: Lakehouse, connection: "DuckDBPyConnection", side: "DuckDBPyConnection", view: FeatureView, group: _Group
) -> None:
    """Remove from `remaining` the lookups that equal a state published after their snapshot and before the lookup."""
    first = _commits(lake, side, group)
    last = side.execute("SELECT max(asked_at) FROM remaining").fetchall()[0][0] + _CLOCKS_MICROS
    states = []
    for entry, content in lake.nessie.history(lake.target, view.table):
        committed = _micros(entry.committed)
        if committed < first:
            break
        if content is not None and content.is_table and content.snapshot_id != group.snapshot and committed <= last:
            states.append((committed, At(lake.target, entry.hash)))
    for committed, at in reversed(states):
        if not _count(side, "remaining"):
            return
        try:
            table = PinnedTable.load(lake, view.table, at)
            require_columns(view, table)
            side.execute(f"CREATE OR REPLACE TABLE asked AS SELECT {', '.join(_COLUMNS)} FROM remaining")
            _judge(connection, side, PinnedView(view, table))
        except (UsageError, ContractError):  # collected, or with another layout: this state can't explain a lookup
            continue
        side.execute(
            "DELETE FROM remaining WHERE line IN (SELECT line FROM judged JOIN commits USING (commit_hash) "
            f"WHERE NOT {_DIFFERS} AND asked_at >= ? AND committed < ?)",
            [committed - _CLOCKS_MICROS, committed],
        )


def _commits(lake: Lakehouse, side: "DuckDBPyConnection", group: _Group) -> int:
    """Create table `commits`: the time of each commit that lookups name; returns the earliest of these times.

    A commit that Nessie no longer has gets the earliest time of the others.
    """
    import pyarrow as pa

    known: dict[str, int] = {}
    for commit in group.commits:
        with suppress(UsageError):
            known[commit] = _micros(next(lake.nessie.log(lake.target, at=CommitHash(commit))).committed)
    first = min(known.values())
    moments = [known.get(commit, first) for commit in group.commits]
    side.execute("CREATE OR REPLACE TABLE commits (commit_hash VARCHAR, committed BIGINT)")
    _insert(side, "commits", pa.table({"commit_hash": pa.array(group.commits, pa.string()), "committed": moments}))
    return first


def _example(group: _Group, line: int, entity: str, *columns: Any) -> Example:
    status, event, features, right_status, right_event, right_features = columns
    pairs = {"status": (status, right_status), "event_timestamp": (_shown(event), _shown(right_event))}
    logged, right = json.loads(features), json.loads(right_features)
    pairs |= {name: (logged.get(name), right.get(name)) for name in {**logged, **right}}
    differences = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    return Example(line, group.view, json.loads(entity), group.snapshot, differences)


def _shown(micros: int | None) -> Any:
    return None if micros is None else plain(_EPOCH + timedelta(microseconds=micros))


def _count(side: "DuckDBPyConnection", table: str) -> int:
    return int(side.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])


def _insert(side: "DuckDBPyConnection", table: str, rows: "pa.Table") -> None:
    if rows.num_rows:
        side.register("given", rows)
        side.execute(f"INSERT INTO {table} BY NAME FROM given")
        side.unregister("given")
