"""Another tool that uses the same Nessie: it writes tables by PyIceberg and commits them by HTTP, without Asgard."""

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
    """A client of a Nessie server that knows nothing of Asgard."""

    def __init__(self, lake: Lakehouse) -> None:
        self._api = f"{lake.settings.nessie}/api/v2"
        self._warehouse = lake.settings.warehouse

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request to Nessie's API."""
        answer = urllib3.request(method, self._api + path, json=body, retries=False, timeout=30)
        if answer.status >= 300:
            raise OSError(f"{method} {path}: {answer.status} {answer.data!r}")
        return json.loads(answer.data or b"{}")

    def head(self, ref: str) -> str:
        """The commit at the head of a branch."""
        return str(self.call("GET", f"/trees/{quote(ref, safe='')}")["reference"]["hash"])

    def assign(self, ref: str, commit: str) -> None:
        """Move a branch to a commit."""
        body = {"type": "BRANCH", "name": ref, "hash": commit}
        self.call("PUT", f"/trees/{quote(ref, safe='')}@{self.head(ref)}?type=BRANCH", body)

    def log(self, ref: str) -> list[dict[str, Any]]:
        """The metadata of a branch's newest 1,000 commits, newest first."""
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
        """The content of a table in Nessie."""
        body = {"requestedKeys": [{"elements": [name.layer, name.name]}]}
        answer = self.call("POST", f"/trees/{quote(ref, safe='')}/contents", body)
        return dict(answer["contents"][0]["content"])

    def change(self, ref: str, name: TableName, work: "Callable[[Table], Any]", *, one_snapshot: bool = False) -> None:
        """Change a table with PyIceberg and commit it.

        Args:
            ref: the branch.
            name: name of the table.
            work: the change to the table.
            one_snapshot: leave only the current snapshot in its metadata, as Nessie's Iceberg REST service does.
        """
        content = self.content(ref, name)
        catalog = SqlCatalog("stranger", uri="sqlite:///:memory:", warehouse=self._warehouse)
        catalog.create_namespace("x")
        table = catalog.register_table(("x", secrets.token_hex(4)), content["metadataLocation"])
        with warnings.catch_warnings():  # PyIceberg warns about table properties of other writers
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
    """Return the path of a file address."""
    return Path(unquote(urlsplit(address).path))


def edited(location: str, change: Callable[[dict[str, Any]], None]) -> str:
    """Copy a metadata file with a change in its JSON; returns the address of the copy."""
    metadata = json.loads(local(location).read_text())
    change(metadata)
    copy = local(location).with_name(f"99999-{secrets.token_hex(8)}.metadata.json")
    copy.write_text(json.dumps(metadata))
    return copy.as_uri().replace("file:///", "file:/", 1)


def only_current_snapshot(location: str) -> str:
    """Copy a metadata file, keeping only its current snapshot."""

    def change(metadata: dict[str, Any]) -> None:
        current = metadata["current-snapshot-id"]
        metadata["snapshots"] = [each for each in metadata["snapshots"] if each["snapshot-id"] == current]
        metadata["snapshot-log"] = [each for each in metadata["snapshot-log"] if each["snapshot-id"] == current]

    return edited(location, change)
