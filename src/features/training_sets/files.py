"""A training set on disk: its file or folder, and the manifest beside it that marks it as complete.

Two files can't be replaced at one moment. So first the manifest is replaced by one that says that the set is being put
in place; then the rows are moved; then the final manifest is written. A process that is killed in between leaves no
valid set, only files that may be replaced.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asgard.common.errors import UsageError
from asgard.common.failpoints import failpoint
from asgard.common.git_utils import code_version
from asgard.common.settings import Settings
from asgard.features.joins import duck
from asgard.features.joins.duck import quoted
from asgard.features.joins.joining import Join
from asgard.features.joins.labels import Labels
from asgard.features.pinned import PinnedTable

_UNFINISHED = "unfinished"


def manifest_path(path: Path) -> Path:
    """Where the manifest of a set is."""
    return Path(f"{path}.manifest.json")


def manifest_of(path: Path) -> Mapping[str, Any] | None:
    """The manifest of a set on disk; None if there is no complete set."""
    manifest = _manifest(path)
    return manifest if path.exists() and manifest and not manifest.get(_UNFINISHED) else None


def require_free(out: Path, *, overwrite: bool) -> None:
    """Refuse a place for a set where something exists that must not be replaced.

    Raises:
        UsageError: something exists there that may not be replaced, or a folder that was never a set.
    """
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists already.", hint="Say --overwrite, or choose another --out.")
    if out.is_dir() and _manifest(out) is None:
        raise UsageError(f"{out} is a folder, but not a training set.", hint="Choose another --out.")


def holds_of(out: Path) -> tuple[str, ...]:
    """The holds of the set at a path, even if it was not finished; none for a set that was copied there."""
    manifest = _manifest(out) or {}
    return tuple(manifest.get("holds", ())) if manifest.get("path") == str(out.absolute()) else ()


def put_in_place(made: Path, out: Path, manifest: Mapping[str, Any]) -> None:
    """Move a set to its place, with its manifest; a set that exists there is replaced.

    Args:
        made: its file or folder, beside `out`.
        out: where it belongs.
        manifest: what it is made of.
    """
    described = {**manifest, "path": str(out.absolute())}
    holds = list(dict.fromkeys((*holds_of(out), *manifest["holds"])))
    _write(out, {_UNFINISHED: "this set was being put in place", "path": described["path"], "holds": holds})
    failpoint("set-announced")
    replaced = out.with_name(f"{out.name}.replaced-{secrets.token_hex(4)}")
    if out.is_dir() or (made.is_dir() and out.exists()):
        os.rename(out, replaced)
        failpoint("set-removed")
    os.replace(made, out)
    failpoint("set-moved")
    _write(out, described)
    remove(replaced)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _manifest(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(manifest_path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise UsageError(f"{manifest_path(path)} is not a manifest.", hint="Move it away, or choose another --out.")
    return content


def _write(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write a manifest atomically; it is on disk when this returns."""
    place = manifest_path(path)
    temporary = place.with_name(f"{place.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(json.dumps(manifest, indent=1, default=str) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, place)
    finally:
        temporary.unlink(missing_ok=True)


def described(settings: Settings, labels: Labels, table: PinnedTable | None, join: Join) -> dict[str, Any]:
    """A manifest's entries about the origin of its set: labels, views, code and query of a join.

    Args:
        settings: for the code version.
        labels: of the set.
        table: the labels' table; None for a file.
        join: what was joined to them.
    """
    code = code_version(settings)
    query = duck.join_sql(
        lambda pinned, columns: (
            f"(SELECT {', '.join(map(quoted, columns))} FROM {pinned.name} FOR VERSION AS OF {pinned.snapshot_id})"
        ),
        "labels",
        join.label_columns,
        join.views,
        join.names,
    )
    source: dict[str, Any] = {"source": labels.source, "time_column": labels.time}
    if table is None:
        source["sha256"] = _sha256(Path(labels.source))
    else:
        source |= {"commit": table.at.commit, "snapshot_id": table.snapshot_id}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "labels": source,
        "views": [pinned.describe() for pinned in join.views],
        "on_demand": [function.name for function in join.on_demand],
        "code_version": code.version,
        "dirty": code.dirty,
        "query": query,
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
