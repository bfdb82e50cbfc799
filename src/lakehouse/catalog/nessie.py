"""The only client of Nessie: references, log, diff, contents and commits, over its REST API v2.

Why not pynessie: see docs/decisions/0002-own-nessie-door.md. Protocol: Nessie's OpenAPI, spec 2.2.0.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NoReturn
from urllib.parse import quote, urlencode

import urllib3

from asgard.common.errors import ConflictError, ServiceError, ServiceUnreachableError, UnknownReferenceError
from asgard.common.logging import logger
from asgard.common.names import BranchName, CommitHash, SnapshotId, TableName
from asgard.common.settings import Secret, Settings

_TIMEOUT = urllib3.Timeout(connect=5.0, read=60.0)
_READ_RETRIES = urllib3.Retry(
    total=4, backoff_factor=0.2, status_forcelist=(502, 503, 504), allowed_methods=None, raise_on_status=False
)
_PAGE = 250
_LOG = logger("nessie")
_KINDS = {
    "ICEBERG_TABLE": "Iceberg table",
    "ICEBERG_VIEW": "Iceberg view",
    "DELTA_LAKE_TABLE": "Delta Lake table",
    "UDF": "function",
    "NAMESPACE": "namespace",
}


class RefKind(StrEnum):
    """What a reference is."""

    BRANCH = "BRANCH"
    TAG = "TAG"


@dataclass(frozen=True)
class Reference:
    """A branch or tag and the commit that it points at."""

    name: BranchName
    kind: RefKind
    hash: CommitHash


@dataclass(frozen=True)
class Content:
    """The content of a key at a commit: for a table, its metadata file and snapshot."""

    kind: str
    raw: Mapping[str, Any] = field(hash=False)

    @property
    def is_table(self) -> bool:
        """Whether this is an Iceberg table (and not a namespace, view or something else)."""
        return self.kind == "ICEBERG_TABLE"

    @property
    def id(self) -> str:
        """Nessie's id of the content, the same over all its versions."""
        return str(self.raw["id"])

    @property
    def kind_in_words(self) -> str:
        """The kind in words, e.g. `Iceberg view`; for a kind that is not known here, Nessie's own name."""
        return _KINDS.get(self.kind, self.kind)

    @property
    def metadata_location(self) -> str:
        """Address of the table's metadata file.

        Raises:
            ServiceError: it is not an Iceberg table.
        """
        return str(self._of_table("metadataLocation"))

    @property
    def snapshot_id(self) -> SnapshotId:
        """The table's current snapshot; -1 for a table that never had one.

        Raises:
            ServiceError: it is not an Iceberg table.
        """
        return SnapshotId(int(self._of_table("snapshotId")))

    def _of_table(self, name: str) -> Any:
        if not self.is_table:
            raise ServiceError(
                f"Expected an Iceberg table in Nessie, but found this: {self.kind_in_words}.",
                hint="Another tool made it. Give the table another name.",
            )
        return self.raw[name]


@dataclass(frozen=True)
class LogEntry:
    """One commit of a reference's log.

    Attributes:
        merged: for a merge, the commit of the other reference that was merged.
    """

    hash: CommitHash
    parent: CommitHash
    message: str
    committed: datetime
    properties: Mapping[str, str] = field(hash=False)
    author: str = ""
    merged: CommitHash | None = None


@dataclass(frozen=True)
class Operation:
    """What one commit did to one key; `content` is None for a delete."""

    kind: str
    key: tuple[str, ...]
    content: Content | None


@dataclass(frozen=True)
class DiffEntry:
    """The content of one key before and after, in a diff; None where the key did not exist."""

    key: tuple[str, ...]
    before: Content | None
    after: Content | None


@dataclass(frozen=True)
class Repository:
    """Which Nessie repository answered."""

    created: str
    default_branch: str


class NessieConflictError(ConflictError):
    """Nessie refused a commit because keys changed since the expected hash.

    Attributes:
        keys: the keys that changed, if Nessie named them.
    """

    def __init__(self, message: str, keys: frozenset[tuple[str, ...]], *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.keys = keys


class Nessie:
    """A client of one Nessie server; safe to share between threads.

    Args:
        uri: base address, without `/api/...`.
        token: bearer token, if the server asks for one.
    """

    def __init__(self, uri: str, token: Secret | None = None) -> None:
        self.uri = uri
        self._base = f"{uri}/api/v2"
        self._pool = urllib3.PoolManager(maxsize=8, timeout=_TIMEOUT, retries=False)
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Nessie-Client-Spec": "2",  # without it, a refusal does not name the keys that changed
        }
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token.reveal()}"

    @classmethod
    def of(cls, settings: Settings) -> "Nessie":
        """The client for the Nessie that the settings name."""
        return cls(settings.nessie, settings.nessie_token)

    def repository(self) -> Repository:
        """Ask which repository answers."""
        config = self._call("GET", "/config")
        return Repository(config.get("repositoryCreationTimestamp", ""), config["defaultBranch"])

    def reference(self, name: str) -> Reference:
        """The branch or tag of this name.

        Raises:
            UnknownReferenceError: there is none.
        """
        return _reference(self._call("GET", f"/trees/{_quoted(name)}")["reference"])

    def head(self, name: str) -> CommitHash:
        """The commit that a branch or tag points at now."""
        return self.reference(name).hash

    def references(self, prefix: str = "") -> Iterator[Reference]:
        """All branches and tags whose name starts with `prefix`."""
        query = {"filter": f"ref.name.startsWith('{prefix}')"} if prefix else {}
        for page in self._pages("/trees", query):
            yield from map(_reference, page["references"])

    def create(self, kind: RefKind, name: BranchName, at: CommitHash, source: str) -> Reference:
        """Create a branch or tag at a commit of `source`.

        Raises:
            NessieConflictError: the name exists.
        """
        body = {"type": "BRANCH", "name": source, "hash": at}
        return _reference(self._call("POST", f"/trees?name={_quoted(name)}&type={kind}", body)["reference"])

    def delete(self, reference: Reference) -> None:
        """Drop a branch or tag if it still points at `reference.hash`.

        Raises:
            NessieConflictError: it points at another commit.
            UnknownReferenceError: it doesn't exist.
        """
        self._call("DELETE", f"/trees/{_quoted(reference.name)}@{reference.hash}?type={reference.kind}")

    def log(self, reference: str, *, at: CommitHash | None = None, since: datetime | None = None) -> Iterator[LogEntry]:
        """Commits of a reference, newest first; with `since`, down to the first that is older.

        Args:
            reference: branch or tag.
            at: start at this commit instead of the head.
            since: stop after the first commit made before this moment.
        """
        path = f"/trees/{_quoted(reference)}{f'@{at}' if at else ''}/history"
        for page in self._pages(path, {}):
            for item in page["logEntries"]:
                entry = _log_entry(item["commitMeta"])
                yield entry
                if since is not None and entry.committed < since:
                    return

    def history(self, reference: str, table: TableName) -> Iterator[tuple[LogEntry, Content | None]]:
        """Commits of a reference that changed one table, newest first, with its content afterwards; None if dropped.

        Nessie filters the commits on the server: a page of answers has changes of this table only.
        """
        wanted = f"op.namespace == '{table.layer}' && op.name == '{table.name}'"
        for entry, operations in self.operations(reference, filter=f"operations.exists(op, {wanted})"):
            for operation in operations:
                if operation.key == (table.layer, table.name):
                    yield entry, operation.content

    def operations(self, reference: str, **query: str) -> Iterator[tuple[LogEntry, tuple[Operation, ...]]]:
        """Commits of a reference (`name` or `name@hash`), newest first, with the operations of each.

        Args:
            reference: branch or tag.
            query: query parameters of Nessie's API, e.g. `filter`.
        """
        for page in self._pages(f"/trees/{_ref_path(reference)}/history", {"fetch": "ALL", **query}):
            for item in page["logEntries"]:
                yield _log_entry(item["commitMeta"]), tuple(map(_operation, item.get("operations") or ()))

    def diff(self, before: str, after: str) -> tuple[DiffEntry, ...]:
        """What differs between two references; each may be `name` or `name@hash`."""
        return tuple(
            DiffEntry(_key(item["key"]), _content(item.get("from")), _content(item.get("to")))
            for page in self._pages(f"/trees/{_ref_path(before)}/diff/{_ref_path(after)}", {})
            for item in page["diffs"]
        )

    def contents(self, reference: str, keys: Iterable[TableName]) -> dict[TableName, Content]:
        """The content of each key at a reference (`name` or `name@hash`); absent keys are left out."""
        contents = self._contents(reference, [(name.layer, name.name) for name in keys])
        return {TableName(*key): content for key, content in contents.items()}

    def has_namespace(self, reference: str, name: str) -> bool:
        """Whether a namespace exists at a reference."""
        return bool(self._contents(reference, [(name,)]))

    def content(self, reference: str, name: TableName) -> Content | None:
        """The content of one key at a reference, or None."""
        return self.contents(reference, (name,)).get(name)

    def everything(self, reference: str) -> dict[tuple[str, ...], Content]:
        """All contents of a reference (`name` or `name@hash`), of any kind except namespaces."""
        pages = self._pages(f"/trees/{_ref_path(reference)}/entries", {"content": "true"})
        entries = ((_key(entry["name"]), _content(entry.get("content"))) for page in pages for entry in page["entries"])
        return {key: content for key, content in entries if content and content.kind != "NAMESPACE"}

    def entries(self, reference: str) -> dict[TableName, Content]:
        """Every table at a reference (`name` or `name@hash`) whose name has the form `layer.name`."""
        entries = self.everything(reference).items()
        return {TableName(*key): content for key, content in entries if content.is_table and len(key) == 2}

    def commit(
        self,
        branch: BranchName,
        expected: CommitHash,
        operations: Iterable[Mapping[str, Any]],
        message: str,
        *,
        properties: Mapping[str, str] | None = None,
        author: str = "",
    ) -> CommitHash:
        """Commit operations on a branch, all or nothing, if none of their keys changed since `expected`.

        Raises:
            NessieConflictError: a key changed.
            ServiceUnreachableError: Nessie did not answer: the commit may or may not have happened.
        """
        body = {
            "commitMeta": {
                "message": message,
                "authors": [author] if author else [],
                "allProperties": {name: [value] for name, value in (properties or {}).items()},
            },
            "operations": list(operations),
        }
        answer = self._call("POST", f"/trees/{_quoted(branch)}@{expected}/history/commit", body)
        if "targetBranch" not in answer:
            raise ServiceUnreachableError(f"Nessie at {self.uri} gave no answer to a commit.", hint="Try again.")
        return CommitHash(answer["targetBranch"]["hash"])

    def _contents(self, reference: str, keys: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], Content]:
        if not keys:
            return {}
        body = {"requestedKeys": [{"elements": list(key)} for key in keys]}
        answer = self._call("POST", f"/trees/{_ref_path(reference)}/contents", body, reads=True)
        return {_key(item["key"]): Content(item["content"]["type"], item["content"]) for item in answer["contents"]}

    def _pages(self, path: str, query: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        token = None
        while True:
            parameters = {**query, "max-records": str(_PAGE), **({"page-token": token} if token else {})}
            page = self._call("GET", f"{path}?{urlencode(parameters)}")
            yield page
            token = page.get("token")
            if not page.get("hasMore") or not token:
                return

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, reads: bool = False) -> Any:
        """Send one request; retry it only if that can't change anything twice (a GET, or a POST that `reads`)."""
        data = json.dumps(body).encode() if body is not None else None
        retries: urllib3.Retry | bool = _READ_RETRIES if reads or method == "GET" else False
        try:
            _LOG.debug("%s %s", method, path)
            answer = self._pool.request(method, self._base + path, body=data, headers=self._headers, retries=retries)
        except urllib3.exceptions.HTTPError as error:
            raise ServiceUnreachableError(
                f"Nessie at {self.uri} did not answer {method}: {_reason(error)}.",
                hint="Is it running? `asgard status` shows the local services, `asgard up` starts them.",
            ) from error
        if answer.status >= 400:
            self._refuse(answer.status, answer.data, path)
        try:
            return json.loads(answer.data) if answer.data else {}
        except ValueError as error:
            raise self._not_nessie(answer.status) from error

    def _not_nessie(self, status: int) -> ServiceError:
        return ServiceError(
            f"The server at {self.uri} does not answer as Nessie's API v2 (status {status}).",
            hint="Check NESSIE_URI: it must be the base address of Nessie 0.60 or later.",
        )

    def _refuse(self, status: int, data: bytes, path: str) -> NoReturn:
        try:
            answer = json.loads(data)
            code, message = answer.get("errorCode", ""), answer.get("message", "")
        except ValueError:
            answer, code, message = {}, "", data[:200].decode(errors="replace")
        if status in (401, 403):
            raise ServiceError(
                f"Nessie at {self.uri} refused the credentials ({status}).",
                hint="Set NESSIE_AUTH_TOKEN to a valid token; it may have expired.",
            )
        if status == 404 and code in ("REFERENCE_NOT_FOUND", "CONTENT_NOT_FOUND"):
            raise UnknownReferenceError(
                f"Nessie has no such reference: {message}", hint="`asgard branches` lists the existing ones."
            )
        if status == 409:
            details = answer.get("errorDetails") or {}
            keys = frozenset(_key(item["key"]) for item in details.get("conflicts", ()) if item.get("key"))
            raise NessieConflictError(f"Nessie refused: {message}", keys)
        if status >= 500 or status == 429:
            raise ServiceUnreachableError(
                f"Nessie at {self.uri} is not ready ({status}).", hint="Try again when it is up."
            )
        if not code:
            raise self._not_nessie(status)
        raise ServiceError(
            f"Nessie answered {status} {code} to {path.split('?')[0]}: {message}", hint="See Nessie's own log."
        )


def put(key: tuple[str, ...], content: Content, *, is_new: bool) -> dict[str, Any]:
    """The commit operation that sets a key; Nessie requires a new key's content to have no id."""
    raw = {name: value for name, value in content.raw.items() if not (is_new and name == "id")}
    return {"type": "PUT", "key": {"elements": list(key)}, "content": raw}


def put_namespace(name: str) -> dict[str, Any]:
    """The commit operation that creates a namespace."""
    return {"type": "PUT", "key": {"elements": [name]}, "content": {"type": "NAMESPACE", "elements": [name]}}


def drop(key: tuple[str, ...]) -> dict[str, Any]:
    """The commit operation that removes a key."""
    return {"type": "DELETE", "key": {"elements": list(key)}}


def unchanged(key: tuple[str, ...]) -> dict[str, Any]:
    """The commit operation by which Nessie refuses the commit if the key changed since the expected hash."""
    return {"type": "UNCHANGED", "key": {"elements": list(key)}}


def _reference(raw: Mapping[str, Any]) -> Reference:
    return Reference(BranchName(raw["name"]), RefKind(raw["type"]), CommitHash(raw["hash"]))


def _key(raw: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(raw["elements"])


def _content(raw: Mapping[str, Any] | None) -> Content | None:
    return Content(raw["type"], raw) if raw else None


def _log_entry(meta: Mapping[str, Any]) -> LogEntry:
    properties = {name: values[0] for name, values in (meta.get("allProperties") or {}).items() if values}
    parents = meta.get("parentCommitHashes") or [""]
    committed = datetime.fromisoformat(meta["commitTime"])
    return LogEntry(
        hash=CommitHash(meta["hash"]),
        parent=CommitHash(parents[0]),
        message=meta["message"],
        committed=committed,
        properties=properties,
        author=next(iter(meta.get("authors") or ()), ""),
        merged=CommitHash(parents[1]) if len(parents) > 1 else None,
    )


def _operation(raw: Mapping[str, Any]) -> Operation:
    return Operation(raw["type"], _key(raw["key"]), _content(raw.get("content")))


def _quoted(name: str) -> str:
    """A reference name encoded as one path segment: slashes, too, are encoded."""
    return quote(name, safe="")


def _ref_path(reference: str) -> str:
    name, at, commit = reference.partition("@")
    return f"{_quoted(name)}{at}{commit}"


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    cause = getattr(error, "reason", None) or next((a for a in error.args if isinstance(a, Exception)), error)
    return str(cause).rpartition(": ")[2] or type(cause).__name__
