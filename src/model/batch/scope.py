"""Which entities a run predicted: in table columns for programs, and in words for people.

Tables written by Asgard before version 0.1 contain only the words. Only this module parses them, so that one table can
contain rows of both kinds.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

SCOPE = "scope"
COVERAGE = "coverage"
CHALLENGER = "challenger"
COMPLETES = "completes"
_TYPED = (COVERAGE, CHALLENGER, COMPLETES)
_WORDS = "^all( that were not predicted yet)?(, challenger ([^ ]+) .*)?$"
"""The words of a run over all entities; group 1 matches if it completed an earlier run, group 3 if it had a challenger.

Java, RE2 and Python read it in the same way.
"""


class Coverage(StrEnum):
    """Whether a run covers all entities or some."""

    ALL = "all"
    SOME = "some"


@dataclass(frozen=True)
class Scope:
    """Which entities a run predicted.

    Attributes:
        coverage: all entities, or some.
        challenger: version of the challenger, e.g. `1.2.0`; None without one.
        completes: whether some of the entities were predicted before, so that the run added only the others.
        text: the scope in words, for people.
    """

    coverage: Coverage
    challenger: str | None = None
    completes: bool = False
    text: str = ""

    def __str__(self) -> str:
        return self.text

    @property
    def is_whole(self) -> bool:
        """Whether one version alone predicted all entities, perhaps together with what it predicted before."""
        return self.coverage is Coverage.ALL and self.challenger is None

    @property
    def columns(self) -> Mapping[str, str | bool | None]:
        """The values of the table's columns, by their names."""
        return {
            SCOPE: self.text,
            COVERAGE: str(self.coverage),
            CHALLENGER: self.challenger,
            COMPLETES: self.completes,
        }

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Scope":
        """Read the scope of a table's row, written by any version of Asgard.

        Args:
            row: has `scope`; the other columns may be missing or null.
        """
        text = row[SCOPE] or ""
        coverage = row.get(COVERAGE) if COVERAGE in scope_columns(row.keys()) else None
        if isinstance(coverage, str):
            challenger = row.get(CHALLENGER)
            return cls(
                Coverage(coverage),
                challenger if isinstance(challenger, str) else None,
                row.get(COMPLETES) is True,
                text,
            )
        words = re.search(_WORDS, text)
        if words is None:
            return cls(Coverage.SOME, text=text)
        return cls(Coverage.ALL, words[3], words[1] is not None, text)


def scope_columns(columns: Collection[str]) -> tuple[str, ...]:
    """The columns of a table that record which entities a run predicted.

    A table of an older version may have a key with one of these names, so the newer columns count only all together.
    """
    return (SCOPE, *_TYPED) if set(_TYPED) <= set(columns) else (SCOPE,)


def is_over_all(columns: Collection[str]) -> str:
    """SQL for Spark and DuckDB: whether a row was written by a run over all entities.

    Args:
        columns: columns of the table.
    """
    words = f"regexp_extract({SCOPE}, '{_WORDS}', 0) <> ''"
    if COVERAGE not in scope_columns(columns):
        return words
    return f"CASE WHEN {COVERAGE} IS NULL THEN {words} ELSE {COVERAGE} = '{Coverage.ALL}' END"
