"""Files that change under a known name, and files that are taken out again: rows, ledger, lineage and what is said."""

import json
from pathlib import Path

import pytest
from tests.conftest import Fresh
from tests.support.runs import declared, rows_of

from asgard.cli.app import main
from asgard.common.errors import InputDataError
from asgard.common.names import TableName, ledger_name
from asgard.ingest.deliveries import OnChanged
from asgard.jobs.ingest_job import IngestResult, Params, run
from asgard.lakehouse.catalog.lake import Lakehouse


class Landing:
    """A folder of files that are ingested into one bronze table, day by day."""

    def __init__(self, lake: Lakehouse, table: TableName, folder: Path) -> None:
        self.lake, self.table, self.folder = lake, table, folder
        self.said: list[str] = []

    def write(self, name: str, *ids: int) -> None:
        (self.folder / name).write_text("id\n" + "".join(f"{each}\n" for each in ids))

    def ingest(self, policy: OnChanged = OnChanged.KEEP) -> IngestResult:
        self.said.clear()
        table = declared(self.table, columns="id bigint", mode="append")
        return run(Params(table, (str(self.folder),), on_changed=policy), self.lake, self.said.append)

    def ids(self) -> list[int]:
        return [row[0] for row in rows_of(self.lake, self.table, "id")]


@pytest.fixture
def landing(lake: Lakehouse, fresh: Fresh, tmp_path: Path) -> Landing:
    (tmp_path / "landing").mkdir()
    made = Landing(lake, fresh.table("bronze"), tmp_path / "landing")
    made.write("a.csv", 1, 2)
    made.write("b.csv", 3)
    made.ingest()
    return made


def test_its_old_rows_stay_and_that_is_said_first(landing: Landing) -> None:
    for number in range(15):
        landing.write(f"old{number}.csv", 100 + number)
    landing.ingest()
    landing.write("a.csv", 1, 9)
    landing.ingest()
    assert landing.ids() == sorted([1, 1, 2, 3, 9, *range(100, 115)], key=lambda each: repr((each,)))
    changed = [line for line in landing.said if "a.csv changed since it landed (2 rows of run " in line]
    assert len(changed) == 1
    assert changed[0].endswith("the old rows stay beside the new ones; --on-changed replace takes them out")


def test_replace_takes_the_old_rows_out_in_the_same_run(landing: Landing) -> None:
    landing.write("a.csv", 1, 9)
    result = landing.ingest(OnChanged.REPLACE)
    assert landing.ids() == [1, 3, 9]
    assert result.run.tables[str(landing.table)]["rows"] == 3
    assert any("a.csv changed since it landed" in line and "are taken out" in line for line in landing.said)
    landing.write("a.csv", 1, 2)  # as it was at first: those rows are gone, so they land again
    landing.ingest(OnChanged.REPLACE)
    assert landing.ids() == [1, 2, 3]
    landing.write("c.csv", 3)  # the bytes of b.csv
    assert landing.ingest(OnChanged.REPLACE).landed.entries == ()
    assert landing.ids() == [1, 2, 3]


def test_refuse_publishes_nothing(landing: Landing) -> None:
    landing.write("a.csv", 1, 9)
    landing.write("new.csv", 5)
    with pytest.raises(InputDataError, match=r"1 file changed since they landed: .*a\.csv changed .* \(2 rows of run"):
        landing.ingest(OnChanged.REFUSE)
    assert landing.ids() == [1, 2, 3]


def test_a_file_or_a_run_is_taken_out_and_lands_again(landing: Landing, capsys: pytest.CaptureFixture[str]) -> None:
    table, folder = str(landing.table), ["--dir", str(landing.lake.settings.project_dir)]
    assert main(["uningest", table, "b.csv", "--json", *folder]) == 0
    taken = json.loads(capsys.readouterr().out)
    assert [(Path(each["source"]).name, each["rows"]) for each in taken["taken_out"]] == [("b.csv", 1)]
    assert landing.ids() == [1, 2]
    assert main(["lineage", table, "--json", *folder]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert [Path(each).name for each in files] == ["a.csv"]
    assert main(["uningest", table, "b.csv", *folder]) == 2
    assert "has no rows of b.csv" in capsys.readouterr().err
    assert len(landing.ingest().landed.entries) == 1
    assert landing.ids() == [1, 2, 3]
    entries = rows_of(landing.lake, ledger_name(landing.table), "run_id", "source")
    first = next(run_id for run_id, source in entries if source.endswith("a.csv"))
    assert main(["uningest", table, first, *folder]) == 0
    assert landing.ids() == [3]
