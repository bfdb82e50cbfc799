"""model: show versions, change their stages, verify and compare them.

Reads: MLflow's registry and the artifacts in it; published tables that a version was trained on. Writes: transitions in
a model's ledger, the tags and aliases derived from it; holds.
"""

import json
import sys
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asgard.cli.commands.after_move import settle, warn_of_views
from asgard.common.errors import ArtifactError, UsageError
from asgard.common.settings import Settings
from asgard.jobs.options import DirOption, JsonOption, SetOption, settings_from
from asgard.jobs.reporting import show_json, show_table

if TYPE_CHECKING:
    from asgard.lakehouse.catalog.lake import Lakehouse
    from asgard.model.artifacts.artifact import Artifact
    from asgard.model.ledger.transitions import Move
    from asgard.model.lifecycle import Ledger
    from asgard.model.registry import Registry
    from asgard.model.versions import ModelVersion

VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="E.g. churn@1.2.0, or churn@production.")]
WhyOption = Annotated[str, typer.Option("--why", help="The reason, recorded with user and time.")]
ExpectOption = Annotated[
    str,
    typer.Option(
        "--expect", metavar="VERSION", help="Fail unless this version is in Production now; none: no version is."
    ),
]


def list_versions(
    name: Annotated[str | None, typer.Argument(metavar="MODEL", help="Only this model.")] = None,
    stage: Annotated[
        str | None, typer.Option("--stage", help="Only this stage: none, staging, production, archived.")
    ] = None,
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """List models: versions and stages."""
    from asgard.model.lifecycle import Stage
    from asgard.model.registry import Registry

    wanted = Stage.parse(stage) if stage else None
    registry = Registry.of(settings_from(settings, directory))
    versions = [
        version
        for each in ([name] if name else registry.names())
        for version in reversed(registry.model(each).everything)
        if wanted in (None, version.stage)
    ]
    if as_json:
        show_json({"versions": [version.to_json() for version in versions]})
        return
    show_table(
        ("VERSION", "STAGE", "REGISTERED", "BY", "METRICS", "SNAPSHOT", "CODE"),
        [
            (
                version,
                version.stage,
                version.created[:19],
                version.created_by,
                "NOT VERIFIED" if version.problem else _metrics(version, most=3),
                ", ".join(map(str, version.binding.tables.values())),
                version.binding.code_version[:12],
            )
            for version in versions
        ],
        empty="no version yet: `asgard train` registers one",
    )
    for version in versions:
        if version.problem:
            sys.stderr.write(f"{version.problem}: `asgard model verify {version}`\n")


def show(
    version: Annotated[
        str,
        typer.Argument(metavar="VERSION", help="E.g. churn@1.2.0, churn@staging; churn: in Production, else latest."),
    ],
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one version: data, code, metrics, files, history."""
    from asgard.model.registry import Registry
    from asgard.model.versions import split_name

    registry = Registry.of(settings_from(settings, directory))
    name, what = split_name(version)
    model = registry.model(name)
    registered = model.look(what)
    artifact, problem = _verified(registry, registered)
    if as_json:
        show_json(_described(registered, model.ledger, artifact, problem))
    else:
        _show(registered, model.ledger, artifact, problem)


def promote(
    version: VersionArgument,
    to: Annotated[str, typer.Option("--to", metavar="STAGE", help="staging, production or archived.")],
    why: WhyOption = "",
    expect: ExpectOption = "",
    gate: Annotated[
        list[str] | None,
        typer.Option("--gate", metavar="MODULE:FUNCTION", help="Your own gate, after the built-in ones. Repeatable."),
    ] = None,
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move a version to its next stage."""
    from asgard.model.gates import BUILT_IN, load_gate
    from asgard.model.ledger.holds import problems_with_data
    from asgard.model.lifecycle import Stage
    from asgard.model.registry import Registry
    from asgard.model.versions import require_version

    name, number = require_version(version)
    stage = Stage.parse(to)
    gates = (*BUILT_IN, *map(load_gate, gate or ()))
    _require_expectation(expect)
    given = settings_from(settings, directory)
    data = _Data(given)
    registry = Registry.of(given)
    done = registry.move(
        name,
        number,
        stage,
        why=why,
        expect=expect,
        gates=gates,
        audit=lambda each: problems_with_data(data.lake, each.binding) if each.binding.views else (),
    )
    _show_move(done, as_json=as_json)
    settle(registry, lambda: data.lake, name)
    warn_of_views(lambda: data.lake, done.version)


def rollback(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="E.g. churn.")],
    to: Annotated[
        str | None, typer.Option("--to", metavar="VERSION", help="Default: the version that left Production last.")
    ] = None,
    why: WhyOption = "",
    expect: ExpectOption = "",
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring an archived version back to Production."""
    from asgard.model.ledger.holds import require_data
    from asgard.model.lifecycle import Version
    from asgard.model.registry import Registry
    from asgard.model.versions import split_name

    if split_name(name)[1]:
        raise UsageError(f"{name!r} names a version.", hint=f"asgard model rollback {name.replace('@', ' --to ')}")
    number = Version.parse(to) if to else None
    _require_expectation(expect)
    given = settings_from(settings, directory)
    data = _Data(given)
    registry = Registry.of(given)
    done = registry.rollback(
        name,
        number,
        why=why,
        expect=expect,
        prepare=lambda each: require_data(data.lake, each) if each.binding.views else None,
    )
    _show_move(done, as_json=as_json)
    settle(registry, lambda: data.lake, name)
    warn_of_views(lambda: data.lake, done.version)


def verify(
    version: VersionArgument,
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a version's files and facts against its registration."""
    from asgard.model.registry import Registry
    from asgard.model.versions import split_name

    registry = Registry.of(settings_from(settings, directory))
    name, what = split_name(version)
    verified = registry.model(name).look(what)
    artifact, problem = _verified(registry, verified)
    if as_json:
        show_json(
            {
                "version": str(verified),
                "sha256": verified.sha256,
                "verified": problem is None,
                "problem": problem.message if problem else None,
                "files": _files(artifact),
            }
        )
    if problem is not None:
        raise problem
    if not as_json:
        files = _files(artifact)
        size = sum(each["bytes"] for each in files)
        typer.echo(
            f"{verified}: {len(files)} files, {size:,} bytes, metrics, bounds and binding, all equal to the registered "
            f"ones (SHA-256 {verified.sha256})"
        )


def compare(
    before: Annotated[str, typer.Argument(metavar="VERSION", help="E.g. churn@production.")],
    after: Annotated[str, typer.Argument(metavar="OTHER", help="E.g. churn@1.3.0.")],
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the differences between two versions."""
    from asgard.model.artifacts.segments import segments_of
    from asgard.model.provenance import comparison
    from asgard.model.registry import Registry

    registry = Registry.of(settings_from(settings, directory))
    one, other = registry.find(before), registry.find(after)
    old, new = registry.artifact(one), registry.artifact(other)
    compared = comparison.compare(one, other, old.spec, new.spec, (segments_of(old), segments_of(new)))
    if as_json:
        show_json(compared.to_json())
        return
    show_table(
        ("METRIC", str(one), str(other), "CHANGE"),
        [
            (name, _number(old), _number(new), f"{new - old:+.4g}" if old is not None and new is not None else "")
            for name, (old, new) in compared.metrics.items()
        ],
        empty="neither has metrics",
    )
    typer.echo("")
    show_table(("DIFFERS", str(one), str(other)), compared.differences, empty="there are no other differences")
    for broken in compared.breaks:
        typer.echo(f"callers of {one} would break: {broken}")


class _Data:
    """The lakehouse of a command, connected on first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def lake(self) -> "Lakehouse":
        from asgard.lakehouse.catalog.lake import Lakehouse

        return Lakehouse.connect(self._settings, "asgard model")


def _require_expectation(text: str) -> None:
    from asgard.model.lifecycle import Version

    if text and text.lower() != "none":
        Version.parse(text)


def _verified(registry: "Registry", version: "ModelVersion") -> "tuple[Artifact | None, ArtifactError | None]":
    from asgard.model.ledger.registered import require_intact

    try:
        return registry.artifact(require_intact(version)), None
    except ArtifactError as error:
        return None, error


def _show_move(done: "Move", *, as_json: bool) -> None:
    version, entry = done.version, done.transition
    archived = f"{version.name}@{done.archived}" if done.archived else None
    if as_json:
        moved = entry.to_json() if entry else None
        show_json({"version": version.to_json(), "moved": entry is not None, "transition": moved, "archived": archived})
    elif entry is None:
        typer.echo(f"{version} is already in {version.stage}: nothing was moved")
    else:
        typer.echo(f"{version} is in {entry.to}{f', {archived} is archived' if archived else ''}")


def _described(
    version: "ModelVersion", ledger: "Ledger", artifact: "Artifact | None", problem: ArtifactError | None
) -> dict[str, Any]:
    from asgard.model.artifacts.segments import segments_of
    from asgard.model.versions import finite

    segments = segments_of(artifact)
    return {
        **version.to_json(),
        "verified": problem is None,
        "problem": problem.message if problem else None,
        "spec": finite(artifact.spec.to_json()) if artifact else None,
        "segments": [each.to_json() for each in segments.everyone] if segments else [],
        "files": _files(artifact),
        "history": [
            {**step.transition.to_json(), "before": step.before, "after": step.after}
            for step in ledger.steps_of(version.version)
        ],
    }


def _show(
    version: "ModelVersion", ledger: "Ledger", artifact: "Artifact | None", problem: ArtifactError | None
) -> None:
    from asgard.model.artifacts.segments import segments_of

    binding = version.binding
    typer.echo(f"{version} is in {version.stage}; registered {version.created[:19]} by {version.created_by}")
    typer.echo(f"  code {binding.code_version or 'unknown'}{' (dirty)' if binding.dirty else ''}")
    typer.echo(f"  MLflow: version {version.mlflow_version}, run {version.run_id}")
    typer.echo(f"  metrics {_metrics(version) or 'none'}")
    if problem is not None or artifact is None:
        typer.echo(f"  NOT VERIFIED: {problem.message if problem else ''}")
    else:
        spec = artifact.spec
        classes = f" of {', '.join(spec.signature.classes)}" if spec.signature.classes else ""
        typer.echo(f"  {spec.signature.task}{classes}, as {spec.format}; seed {spec.seed}; SHA-256 {version.sha256}")
        _section(("FEATURE", "TYPE"), [(column.name, column.type) for column in spec.signature.inputs])
        segments = segments_of(artifact)
        if segments is not None:
            _section(*segments.table())
        _section(("PARAMETER", "VALUE"), list(spec.params.items()))
        _section(("LIBRARY", "VERSION"), list(spec.trained_with.items()))
    _section(
        ("VIEW", "VERSION", "TABLE", "SNAPSHOT", "COMMIT"),
        [(each.view, each.version, each.table, each.snapshot_id, each.commit[:16]) for each in binding.views],
    )
    bounds = [(name, "at least", bound) for name, bound in binding.minimum.items()]
    _section(("BOUND OF", "", "VALUE"), bounds + [(name, "at most", bound) for name, bound in binding.maximum.items()])
    recorded = {name: value for name, value in binding.details.items() if name != "environment" or artifact is None}
    _section(("RECORDED", "VALUE"), [(name, _plain(value)) for name, value in recorded.items()])
    files = _files(artifact)
    code = [each["bytes"] for each in files if each["path"].startswith("code/")]
    shown = [(each["path"], each["bytes"], each["sha256"]) for each in files if not each["path"].startswith("code/")]
    shown += [(f"code/ ({len(code)} files)", sum(code), "")] if code else []
    _section(("FILE", "BYTES", "SHA-256"), shown)
    _section(
        ("NUMBER", "WHEN", "FROM", "TO", "BY", "HOW", "WHY"),
        [
            (
                step.transition.number,
                step.transition.when[:19],
                step.before,
                step.after,
                step.transition.who,
                step.transition.kind
                if step.version == step.transition.version
                else f"{step.transition.kind} of {step.transition.version}",
                step.transition.why,
            )
            for step in reversed(ledger.steps_of(version.version))
        ],
    )


def _section(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    if rows:
        typer.echo("")
        show_table(columns, rows)


def _files(artifact: "Artifact | None") -> list[dict[str, Any]]:
    from asgard.model.artifacts.artifact import hash_of

    files = artifact.files if artifact else {}
    return [
        {"path": path, "bytes": len(content), "sha256": hash_of(content)} for path, content in sorted(files.items())
    ]


def _metrics(version: "ModelVersion", most: int | None = None) -> str:
    return ", ".join(f"{name} {_number(value)}" for name, value in list(version.metrics.items())[:most])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
