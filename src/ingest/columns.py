"""The columns of files: their names in the table, and whether the table's contract accepts them."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from asgard.common.errors import ContractError, InputDataError
from asgard.ingest.files import printable
from asgard.ingest.own_columns import OWN
from asgard.lakehouse.declaring.declaration import Contract

MAX_COLUMNS = 5_000


def column_names(given: Sequence[str]) -> tuple[str, ...]:
    """Plain names for columns, unique even if letter case is ignored.

    Letters of any script (SQL needs backquotes around those beyond ASCII), digits and `_` are kept; a run of other
    characters becomes one `_`. An empty name becomes `column_<place>`. A name that starts with a digit gets the prefix
    `column_`, a name of ingest's own columns the suffix `_`, and a repeated name the suffix `_2`, `_3`, ...
    """
    taken: set[str] = set()
    return tuple(_free(_plain(text) or f"column_{place}", taken) for place, text in enumerate(given, start=1))


def _free(base: str, taken: set[str]) -> str:
    """The name, with a number appended if it is already in `taken`; the result is added to `taken`."""
    name, count = base, 1
    while name.lower() in taken:
        count += 1
        name = f"{base}_{count}"
    taken.add(name.lower())
    return name


def _plain(text: str) -> str:
    stripped = unicodedata.normalize("NFC", text).strip()
    name = re.sub(r"\W+", "_", stripped)
    if name != stripped:
        name = name.strip("_")
    if name[:1].isdigit():
        name = f"column_{name}"
    return f"{name}_" if name.lower() in OWN else name


@dataclass(frozen=True)
class FileColumns:
    """The columns of one file: with the table's names, in the file's order."""

    file: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class TableColumns:
    """The columns that a table has, or that are declared for it, before the ingest.

    Attributes:
        types: column name -> Spark's short type name, in order.
        renames: old name -> new name, as declared.
        contract: whether columns may be added.
        undeclared: columns of the table that are not declared; their types may be widened as the contract says.
    """

    types: Mapping[str, str] = field(default_factory=dict, hash=False)
    renames: Mapping[str, str] = field(default_factory=dict, hash=False)
    contract: Contract = Contract.COMPATIBLE
    undeclared: frozenset[str] = frozenset()

    def names_for(self, own: Sequence[str]) -> tuple[str, ...]:
        """The table's names for a file's columns, each unique.

        A column that the table has is spelled as in the table, whatever its letter case in the file. Declared renames
        are applied. A new column is named by `column_names`.
        """
        spelling = {name.lower(): name for name in self.types}
        for old, new in self.renames.items():
            spelling.setdefault(old.lower(), new)
        taken: set[str] = set()
        names = []
        for text, plain in zip(own, column_names(own), strict=True):
            name = spelling.get(text.strip().lower()) or spelling.get(plain.lower()) or plain
            names.append(_free(plain if name.lower() in taken else name, taken))
        return tuple(names)


def named(known: TableColumns, files: Iterable[tuple[str, Sequence[str]]]) -> list[FileColumns]:
    """The columns of each file with the table's names; a new column is spelled as in the first file that has it.

    Args:
        known: the columns that the table has.
        files: the name of each file, and its own column names.
    """
    spelled = dict(known.types)
    found = []
    for file, own in files:
        found.append(FileColumns(file, replace(known, types=spelled).names_for(own)))
        for name in found[-1].names:
            spelled.setdefault(name, "")
    return found


def all_columns(
    table: str, known: TableColumns, files: Sequence[FileColumns], *, allow_missing: bool
) -> tuple[str, ...]:
    """The columns of the rows to write: the known ones, then the new ones of the files, in order.

    A file must have every column of the table and of the files before it: in the given order, columns may appear but
    not disappear.

    Raises:
        ContractError: a file lacks a column, or has a new one although the contract is frozen.
        InputDataError: there would be more than `MAX_COLUMNS` columns.
    """
    names = dict.fromkeys(known.types)
    for one in files:
        added = [name for name in one.names if name not in names]
        missing = [name for name in names if name not in one.names]
        if missing and not allow_missing:
            brings = f", but has {_listing(added)}, which the table lacks" if added else ""
            raise ContractError(
                f"{printable(one.file)} lacks {_listing(missing)} of {table}{brings}.",
                hint="If they were renamed, declare it: renames={'old': 'new'}. If they may be missing, say "
                "--allow-missing: then they are null.",
            )
        if added and known.types and known.contract is Contract.FROZEN:
            raise ContractError(
                f"{printable(one.file)} has {_listing(added)}, which {table} lacks, and its contract is frozen.",
                hint="Declare them, or declare contract='compatible'.",
            )
        names |= dict.fromkeys(added)
    if len(names) > MAX_COLUMNS:
        raise InputDataError(
            f"With these files {table} would have {len(names):,} columns; at most {MAX_COLUMNS:,} are allowed.",
            hint="If its keys are data, store them as values instead, e.g. in a list of objects.",
        )
    return tuple(names)


def _listing(names: Sequence[str]) -> str:
    shown = ", ".join(names[:10])
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown
