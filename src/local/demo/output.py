"""The summary that `asgard demo` prints at its end."""

import shlex
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from asgard.jobs.reporting import show_table
from asgard.lakehouse.runs.run import Status
from asgard.local.demo.lookups import OnlineFacts, changes, sync_lines
from asgard.local.demo.models import Modelled
from asgard.local.demo.online import LOOKED_AT, Served
from asgard.local.demo.story import LABELS, METRICS, STORY_TABLE, TRAINING_SET, Refused, Story
from asgard.model.batch.table import SCORE
from asgard.report.models import metric_rows


def show(story: Story) -> None:
    """Print the story for people."""
    _heading("What this call did")
    for one in story.ingested:
        typer.echo(f"{one.table}: {one.rows:,} rows {'ingested by an earlier call' if one.was_there else 'ingested'}")
    typer.echo(f"computed: {', '.join(story.computed) or 'nothing was missing'}")
    _show_training_set(story)
    _heading(f"Tables on main, at commit {story.main[:16]}")
    show_table(
        ("TABLE", "ROWS", "FILES", "MB"),
        [(row["table"], f"{row['rows']:,}", row["files"], f"{row['bytes'] / 1e6:,.1f}") for row in story.tables],
    )
    _heading("Runs, newest first")
    effective = [run for run in story.runs if run["status"] != Status.UNCHANGED]
    show_table(("RUN", "JOB", "STATUS", "TABLES", "CHECKS"), [_run_row(run) for run in effective])
    if len(effective) < len(story.runs):
        typer.echo(f"and {len(story.runs) - len(effective)} runs that found nothing to do")
    _show_models(story.models)
    _show_refused(story.refused)
    _heading(f"Where {STORY_TABLE} comes from")
    _show_lineage(story.lineage, "")
    _show_online(story.online)
    _heading("Where to look next")
    for what, where in _next_steps(story):
        typer.echo(f"{what + ':':<27}{where}")
    typer.echo(f"\ndone in {story.seconds:,.0f} s")


def _heading(text: str) -> None:
    typer.echo("")
    typer.secho(text, bold=True)


def _run_row(run: Mapping[str, Any]) -> Sequence[object]:
    checks = run["checks"]
    passed = f"{sum(check['passed'] for check in checks)}/{len(checks)}" if checks else ""
    names = [name for name in run["tables"] if not name.startswith("ledger.")]
    tables = names[0] if len(names) == 1 else f"{len(names)} tables" if names else ""
    return run["run_id"], run["job"], run["status"], tables, passed


def _show_training_set(story: Story) -> None:
    made, views = story.training, ", ".join(each["view"] for each in story.training["views"])
    typer.echo(
        f"training set: {made['rows']:,} labels of {LABELS} with {views} as known at each label's time, in "
        f"{story.folder / TRAINING_SET}; digest {made['digest'][:12]}"
    )


def _show_models(models: Modelled) -> None:
    facts, did = models.facts, models
    version, predictions = facts.chosen.version, facts.predictions
    _heading("The model")
    names = [str(each.version) for each in facts.tested]
    show_table(
        ("METRIC", *names, "WITHOUT FEATURES"),
        [
            (row["title"], *(each["value"] for each in row["values"]), row["baseline"])
            for row in metric_rows(facts.tested)
        ],
    )
    details = version.binding.details
    typer.echo(
        f"trained on {details['train_rows']:,} labels whose outcome was known before "
        f"{facts.chosen.test_from:%Y-%m-%d}, tested on {details['test_rows']:,} later ones"
    )
    typer.echo(f"trained by this call: {', '.join(did.trained) or 'none, all were trained before'}")
    typer.echo(
        f"{version} is in {version.stage}{'' if did.promoted else ' since an earlier call'}; SHA-256 {version.sha256}"
    )
    typer.echo(
        f"{predictions.table}: {len(predictions.rows):,} predictions as of {predictions.as_of:%Y-%m-%d}, mean "
        f"{predictions.mean:.4f}, {'published' if did.predicted else 'published by an earlier call'}; most at risk:"
    )
    show_table(
        (*(key.upper() for key in predictions.keys), "PREDICTION"),
        [(*(row[key] for key in predictions.keys), f"{row[SCORE]:.4f}") for row in predictions.top()],
    )


def _show_refused(refused: Refused) -> None:
    _heading(f"An audit that failed{', in an earlier call' if refused.was_there else ''}")
    typer.echo(
        f"{refused.file} has {refused.rows} rows for {refused.table}; {len(refused.checks)} checks failed, so none "
        f"of the rows was published. The rows are on branch {refused.branch}."
    )
    for check in refused.checks:
        rows = "" if check["failing_rows"] is None else f"fails for {check['failing_rows']:,} rows, "
        typer.echo(f"- {check['name']}: {rows}{_pairs(check['measured'])}; expected: {_pairs(check['bounds'])}")
        typer.echo(f"  {check['error'] or check['sample_sql'] or ''}")
    typer.echo(f"main before: {refused.main_before}")
    same = "  unchanged" if refused.main_after == refused.main_before else "  later runs published"
    typer.echo(f"main after:  {refused.main_after}{same}")


def _show_online(served: Served) -> None:
    facts = served.facts
    _heading("Redis, before and after a correction and a deletion")
    typer.echo(
        f"A receipt line of household {facts.corrected} was corrected from {facts.sales_before:,.2f} to "
        f"{facts.sales_after:,.2f} dollars, and household {facts.erased} asked for its deletion: published by "
        f"run {facts.run_id}{'' if served.published else ', in an earlier call'}."
    )
    for title, seen in (("sync before the changes", facts.before), ("sync after the changes", facts.after)):
        if seen is not None:
            typer.echo(f"\n{title}:")
            show_table(
                ("VIEW", "DID", "WRITTEN", "DELETED", "IN REDIS", "SNAPSHOT", "VERIFIED"),
                [
                    (
                        each["view"],
                        each["mode"],
                        f"{each['written']:,}",
                        f"{each['deleted']:,}",
                        f"{each['rows']:,}",
                        each["snapshot"],
                        "equal" if each["equal"] else "differs",
                    )
                    for each in sync_lines(seen)
                ],
            )
    for household in (facts.corrected, facts.erased):
        typer.echo(f"\nlookup of household {household}, as of {facts.at:%Y-%m-%d}:")
        lines = [(each.name, each.before or "-", each.after or "-") for each in changes(facts, household)]
        show_table(("VALUE", "BEFORE", "AFTER"), lines)
    typer.echo(f"\nthis call wrote {served.written:,} rows to Redis and deleted {served.deleted:,}; {_age(facts)}")


def _age(facts: OnlineFacts) -> str:
    rows = facts.after.rows[str(facts.corrected)]["views"].values()
    return f"{max(each['age_seconds'] for each in rows):.1f} s before the last lookup, Redis was equal to main"


def _show_lineage(node: Mapping[str, Any], indent: str) -> None:
    typer.echo(f"{indent}{node['table']}  snapshot {node['snapshot_id']}  by {node['job']} {node['run_id']}")
    for file in node["files"]:
        typer.echo(f"{indent}  file {file}")
    for source in node["inputs"]:
        _show_lineage(source, indent + "  ")


def _next_steps(story: Story) -> list[tuple[str, str]]:
    asgard = "asgard" if shutil.which("asgard") else "./run asgard"
    here = f" --dir {shlex.quote(str(story.folder))}"
    pipeline = shlex.quote(story.pipeline)
    refused, online = story.refused, story.online.facts
    views = " ".join(f"-v {each['view']}" for each in online.now)
    return [
        ("the report", story.report.resolve().as_uri()),
        ("Nessie's own pages", story.services["nessie"]),
        ("all runs, one run", f"{asgard} runs{here}; {asgard} runs {refused.run_id}{here}"),
        ("the rows that failed", f"{asgard} audit {refused.table} -p {pipeline} --ref {refused.branch}{here}"),
        ("what those rows change", f"{asgard} diff main {refused.branch}{here}"),
        ("where rows come from", f"{asgard} lineage {STORY_TABLE}{here}"),
        ("features and their files", f"{asgard} features list{here}; {asgard} features show customer_rfm{here}"),
        ("the model and its history", f"{asgard} model show {story.models.facts.chosen.version}{here}"),
        ("a lookup", f"{asgard} lookup {views} -k customer_id={online.corrected} --at {LOOKED_AT:%Y-%m-%d}{here}"),
        ("state of Redis", f"{asgard} status{here}; {asgard} online-sync --verify{here}"),
        ("MLflow's own pages", story.services["mlflow"]),
        ("metrics for Prometheus", f"{asgard} metrics{here}, or {story.folder / METRICS}"),
        ("stop the services", f"{asgard} down{here}"),
    ]


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
