"""Which entities a run predicted: in columns of the table that programs read, and in words for people.

Tables that Asgard wrote before its version 0.1 have the words only. They are understood here and nowhere else, so that
rows of both kinds can stand in one table.
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
"""The words of a run over all entities; groups 1 and 3 are there if it completed earlier ones, and if one challenged.

Java, RE2 and Python read it alike.
"""


class Coverage(StrEnum):
    """Which entities a run is about."""

    ALL = "all"
    SOME = "some"


@dataclass(frozen=True)
class Scope:
    """Which entities a run predicted.

    Attributes:
        coverage: all of them, or some.
        challenger: the version that challenged, e.g. `1.2.0`; None if nobody did.
        completes: whether some of the entities were predicted before, so that the run added the others.
        text: the same for people.
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
        """What the table's columns say, by their names."""
        return {
            SCOPE: self.text,
            COVERAGE: str(self.coverage),
            CHALLENGER: self.challenger,
            COMPLETES: self.completes,
        }

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Scope":
        """What a row of a table says, whichever version of Asgard wrote it.

        Args:
            row: it has `scope`; the other columns may be missing or null.
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
    """Those columns of a table that say which entities a run predicted.

    A table of the version before may have a key of one of the newer names: these columns come all together.
    """
    return (SCOPE, *_TYPED) if set(_TYPED) <= set(columns) else (SCOPE,)


def is_over_all(columns: Collection[str]) -> str:
    """SQL, of Spark and DuckDB alike, of whether a row is of a run over all entities.

    Args:
        columns: of the table.
    """
    words = f"regexp_extract({SCOPE}, '{_WORDS}', 0) <> ''"
    if COVERAGE not in scope_columns(columns):
        return words
    return f"CASE WHEN {COVERAGE} IS NULL THEN {words} ELSE {COVERAGE} = '{Coverage.ALL}' END"
