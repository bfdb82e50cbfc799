"""Another tool at the same Nessie: it writes tables by PyIceberg and commits them by plain HTTP, without Asgard."""

import json
import secrets
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

import urllib3
from pyiceberg.catalog.sql import SqlCatalog

from asgard.common.names import TableName
from asgard.lakehouse.catalog.lake import Lakehouse

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.table import Table


class Foreign:
    """A stranger's client of a Nessie server."""

    def __init__(self, lake: Lakehouse) -> None:
        self._api = f"{lake.settings.nessie}/api/v2"
        self._warehouse = lake.settings.warehouse

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request to Nessie's API."""
        answer = urllib3.request(method, self._api + path, json=body, retries=False, timeout=30)
        if answer.status >= 300:
            raise OSError(f"{method} {path}: {answer.status} {answer.data!r}")
        return json.loads(answer.data or b"{}")

    def head(self, ref: str) -> str:
        """Where a branch is."""
        return str(self.call("GET", f"/trees/{quote(ref, safe='')}")["reference"]["hash"])

    def assign(self, ref: str, commit: str) -> None:
        """Move a branch to a commit."""
        body = {"type": "BRANCH", "name": ref, "hash": commit}
        self.call("PUT", f"/trees/{quote(ref, safe='')}@{self.head(ref)}?type=BRANCH", body)

    def log(self, ref: str) -> list[dict[str, Any]]:
        """The metadata of a branch's commits, newest first; of the newest 1,000."""
        entries = self.call("GET", f"/trees/{quote(ref, safe='')}/history?max-records=1000")["logEntries"]
        return [entry["commitMeta"] for entry in entries]

    def commit(self, ref: str, operations: Sequence[Mapping[str, Any]], message: str = "by hand") -> str:
        """Commit operations to a branch."""
        body = {"commitMeta": {"message": message, "authors": ["a stranger"]}, "operations": list(operations)}
        path = f"/trees/{quote(ref, safe='')}@{self.head(ref)}/history/commit"
        return str(self.call("POST", path, body)["targetBranch"]["hash"])

    def put(self, ref: str, key: Sequence[str], content: Mapping[str, Any]) -> str:
        """Commit one key's content."""
        return self.commit(ref, [{"type": "PUT", "key": {"elements": list(key)}, "content": dict(content)}])

    def drop(self, ref: str, name: TableName) -> str:
        """Drop a table."""
        return self.commit(ref, [{"type": "DELETE", "key": {"elements": [name.layer, name.name]}}])

    def content(self, ref: str, name: TableName) -> dict[str, Any]:
        """What Nessie holds of a table."""
        body = {"requestedKeys": [{"elements": [name.layer, name.name]}]}
        answer = self.call("POST", f"/trees/{quote(ref, safe='')}/contents", body)
        return dict(answer["contents"][0]["content"])

    def change(self, ref: str, name: TableName, work: "Callable[[Table], Any]", *, one_snapshot: bool = False) -> None:
        """Change a table with PyIceberg and commit it.

        Args:
            ref: branch.
            name: of the table.
            work: what to do with it.
            one_snapshot: leave only the current snapshot in its metadata, as Nessie's Iceberg REST service does.
        """
        content = self.content(ref, name)
        catalog = SqlCatalog("stranger", uri="sqlite:///:memory:", warehouse=self._warehouse)
        catalog.create_namespace("x")
        table = catalog.register_table(("x", secrets.token_hex(4)), content["metadataLocation"])
        with warnings.catch_warnings():  # PyIceberg's, of the tables' properties for other writers
            warnings.simplefilter("ignore")
            work(table)
        location = table.metadata_location
        if one_snapshot:
            location = only_current_snapshot(location)
        current = table.current_snapshot()
        self.put(
            ref,
            (name.layer, name.name),
            {
                **content,
                "metadataLocation": location,
                "snapshotId": current.snapshot_id if current else -1,
                "schemaId": table.metadata.current_schema_id,
            },
        )

    def append(self, ref: str, name: TableName, rows: "pa.Table", *, one_snapshot: bool = False) -> None:
        """Append rows."""
        self.change(ref, name, lambda table: table.append(rows), one_snapshot=one_snapshot)


def local(address: str) -> Path:
    """The path of a file address."""
    return Path(unquote(urlsplit(address).path))


def edited(location: str, change: Callable[[dict[str, Any]], None]) -> str:
    """A copy of a metadata file with a change in its JSON; gives its address."""
    metadata = json.loads(local(location).read_text())
    change(metadata)
    copy = local(location).with_name(f"99999-{secrets.token_hex(8)}.metadata.json")
    copy.write_text(json.dumps(metadata))
    return copy.as_uri().replace("file:///", "file:/", 1)


def only_current_snapshot(location: str) -> str:
    """A copy of a metadata file that knows its current snapshot alone."""

    def change(metadata: dict[str, Any]) -> None:
        current = metadata["current-snapshot-id"]
        metadata["snapshots"] = [each for each in metadata["snapshots"] if each["snapshot-id"] == current]
        metadata["snapshot-log"] = [each for each in metadata["snapshot-log"] if each["snapshot-id"] == current]

    return edited(location, change)
