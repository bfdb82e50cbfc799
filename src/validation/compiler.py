"""Turns a table's checks into a plan: what statistics answer, and which passes over which files answer the rest."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

from asgard.common.errors import AsgardError
from asgard.validation.batch import AuditedTable, Batch
from asgard.validation.checks import Check, Scope, require_unique_names
from asgard.validation.measures import UNKNOWN, Measure, Orphans, Shared
from asgard.validation.questions import Question, fit
from asgard.validation.schema import UnfitCheckError
from asgard.validation.statistics import FileStatistics

WHOLE_SHARE = 0.5
"""A pass that needs more than this share of the rows reads all rows, together with measures that need all."""


@dataclass(frozen=True)
class ScanPass:
    """Measures that are computed together over the same files of a batch; files None is all files."""

    files: tuple[str, ...] | None
    measures: tuple[Measure, ...]


@dataclass(frozen=True)
class Source:
    """Where a measure comes from: statistics for the files that no pass reads for it, and a pass for the rest.

    Attributes:
        known: the measure of the files that statistics answer for, already combined.
        scan: index of the pass that measures the rest; None if there is no rest.
    """

    known: object
    scan: int | None


@dataclass(frozen=True)
class BatchPlan:
    """The questions about one batch, and the source of each of their measures."""

    batch: Batch
    questions: tuple[Question, ...]
    sources: Mapping[Measure, Source]
    passes: tuple[ScanPass, ...]

    def scanned_files(self, question: Question) -> int | None:
        """How many files are read for a question; None if the batch's files are unknown."""
        if self.batch.statistics is None:
            return None
        files: set[str] = set()
        for index in {self.sources[measure].scan for measure in question.measures} - {None}:
            named = self.passes[index].files  # type: ignore[index]  # None was taken out
            files.update((file.path for file in self.batch.statistics) if named is None else named)
        return len(files)

    def by_statistics(self, question: Question) -> bool:
        """Whether a question is answered without reading a row."""
        return all(self.sources[measure].scan is None for measure in question.measures)


@dataclass(frozen=True)
class AuditPlan:
    """What auditing one table will read, decided without reading a row.

    Attributes:
        table: its name.
        checks: as declared, in order.
        batches: one plan for each batch that the checks read.
        refused: why a check can't be applied to this table, by check name.
    """

    table: str
    checks: tuple[Check, ...]
    batches: tuple[BatchPlan, ...]
    refused: Mapping[str, AsgardError]


def compile_audit(table: AuditedTable) -> AuditPlan:
    """Plan the audit of one table from its checks, its columns and its files' statistics.

    Raises:
        DeclarationError: two checks share a name.
    """
    require_unique_names(table.name, table.checks)
    refused: dict[str, AsgardError] = {}
    questions: dict[int, list[Question]] = {}
    batches = {id(batch): batch for batch in table.batches.values()}
    for check in table.checks:
        try:
            batch = _batch_of(table, check.scope)
            questions.setdefault(id(batch), []).append(fit(check, batch.schema))
        except UnfitCheckError as error:
            refused[check.name] = error
    plans = tuple(_plan(batches[key], tuple(asked)) for key, asked in questions.items())
    return AuditPlan(table.name, tuple(table.checks), plans, refused)


def _batch_of(table: AuditedTable, scope: Scope) -> Batch:
    if scope not in table.batches:
        raise UnfitCheckError(
            f"{table.name} has no rows of scope {scope!s} here.",
            hint=f"Use .over('...') with one of: {', '.join(table.batches) or 'none'}.",
        )
    return table.batches[scope]


def _plan(batch: Batch, questions: tuple[Question, ...]) -> BatchPlan:
    measures = tuple(dict.fromkeys(measure for question in questions for measure in question.measures))
    if batch.statistics is None:
        alone = [measure for measure in measures if isinstance(measure, Shared | Orphans)]
        together = tuple(measure for measure in measures if measure not in set(alone))
        passes = [ScanPass(None, together)] * bool(together) + [ScanPass(None, (measure,)) for measure in alone]
        return BatchPlan(batch, questions, _sources(measures, passes, {}, ()), tuple(passes))
    parts = {measure: [measure.from_file(file) for file in batch.statistics] for measure in measures}
    passes = _passes(batch.statistics, parts)
    return BatchPlan(batch, questions, _sources(measures, passes, parts, batch.statistics), tuple(passes))


def _passes(files: Sequence[FileStatistics], parts: Mapping[Measure, list[Any]]) -> list[ScanPass]:
    """At most two passes for all aggregates: the files that only some of them need, and all files."""
    rows = [file.record_count for file in files]
    whole: list[Measure] = []
    partial: list[Measure] = []
    alone: list[ScanPass] = []
    union = [False] * len(files)
    for measure, known in parts.items():
        needed = [part is UNKNOWN for part in known]
        if not any(needed):
            continue
        if isinstance(measure, Shared | Orphans):
            alone.append(ScanPass(_paths(files, needed), (measure,)))
        elif _is_most(needed, rows):
            whole.append(measure)
        else:
            partial.append(measure)
            union = [one or other for one, other in zip(union, needed, strict=True)]
    if partial and _is_most(union, rows):
        whole, partial = whole + partial, []
    passes = [ScanPass(None, tuple(whole))] * bool(whole)
    passes += [ScanPass(_paths(files, union), tuple(partial))] * bool(partial)
    return passes + alone


def _sources(
    measures: Iterable[Measure],
    passes: Sequence[ScanPass],
    parts: Mapping[Measure, list[Any]],
    files: Sequence[FileStatistics],
) -> dict[Measure, Source]:
    scans = {measure: index for index, each in enumerate(passes) for measure in each.measures}
    sources = {}
    for measure in measures:
        scan = scans.get(measure)
        known = parts.get(measure, [])
        if scan is not None:
            read = passes[scan].files
            inside = set() if read is None else set(read)
            known = [] if read is None else [p for f, p in zip(files, known, strict=True) if f.path not in inside]
        sources[measure] = Source(measure.combine(known), scan)
    return sources


def _is_most(needed: Iterable[bool], rows: Sequence[int]) -> bool:
    return sum(compress(rows, needed)) > WHOLE_SHARE * sum(rows)


def _paths(files: Sequence[FileStatistics], needed: Sequence[bool]) -> tuple[str, ...] | None:
    paths = tuple(file.path for file in compress(files, needed))
    return None if len(paths) == len(files) else paths
