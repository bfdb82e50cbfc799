"""`asgard report` of a small pipeline: its page says what DuckDB and PyIceberg find in the published files."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pyiceberg.table import StaticTable
from pyspark.sql import SparkSession
from tests.conftest import Fresh
from tests.support.pages import Page
from tests.support.runs import values, write_rows
from tests.support.shop import at, make_shop, names

from asgard.cli.app import main
from asgard.common.errors import AuditFailedError
from asgard.common.settings import Settings
from asgard.jobs import backfill_job
from asgard.lakehouse.catalog import lake as catalog
from asgard.lakehouse.catalog.lake import Lakehouse

PIPELINE = """
from asgard.features.views import Feature, feature_view
from asgard.model.declaration import model
from tests.support.shop import make_shop

shop = make_shop({suffix!r})
features = [Feature("amount", "decimal(10,2)", "of one order")]
view = "orders_{suffix}"
shop.add(feature_view(view, table="{silver}", keys=("id",), features=features, event_timestamp="at", online=True))
shop.add(model("m_{suffix}", labels="gold.labels", target="y", views=(view,), trainer=len, test_from="2024-02-01"))
"""


class Published:
    """A shop with two orders that were published and a batch of three that was not, and its report."""

    def __init__(self, lake: Lakehouse, spark: SparkSession, folder: Path) -> None:
        self.lake, suffix = lake, Fresh().table().name[2:]
        shop, self.tables = make_shop(suffix), names(suffix)
        self.path = folder / f"shop_{suffix}.py"
        self.path.write_text(PIPELINE.format(suffix=suffix, silver=self.tables["silver"]))
        self._order(spark, [[1, at(1, 5), 10], [2, at(2, 5), 20]], shop)
        backfill_job.run(backfill_job.Params(), lake, shop, lambda _line: None)
        self._order(spark, [[7, at(1, 6), 500], [8, at(1, 6), -1], [9, at(1, 6), 5]], shop)
        window = backfill_job.parse_window("2024-01-06", "2024-01-07")
        params = backfill_job.Params((str(self.tables["silver"]),), window)
        with pytest.raises(AuditFailedError) as refused:
            backfill_job.run(params, lake, shop, lambda _line: None)
        self.branch = str(refused.value.result.branch)  # type: ignore[attr-defined]

    def _order(self, spark: SparkSession, rows: list[list[Any]], shop: Any) -> None:
        write_rows(self.lake, shop[self.tables["bronze"]], values(spark, "id bigint, at timestamp, amount int", rows))

    def read(self, table: str, ref: str = "main") -> Any:
        """A table as PyIceberg reads it."""
        content = self.lake.nessie.content(ref, self.tables[table])
        assert content is not None
        return StaticTable.from_metadata(content.metadata_location)


@pytest.fixture(scope="module")
def published(lake: Lakehouse, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Published:
    return Published(lake, spark, tmp_path_factory.mktemp("shop"))


def sql(rows: Any, query: str) -> Any:
    """What DuckDB answers about rows that PyIceberg read."""
    arrow = rows.scan().to_arrow()
    return duckdb.connect().from_arrow(arrow).query("t", query).fetchall()[0]


def test_the_page_says_what_is_in_the_files(
    published: Published,
    project: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a report starts no Spark")

    monkeypatch.setattr(catalog, "open_session", refuse)
    out = tmp_path / "page.html"
    command = ["report", "-p", str(published.path), "--out", str(out), "--dir", str(project.project_dir)]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    counted = {
        name: sql(published.read(short), "SELECT count(*) FROM t")[0] for short, name in published.tables.items()
    }
    assert told["report"] == str(out)
    assert told["tables"] == {str(name): counted[name] for name in published.tables.values()}
    assert told["not_published"] == [f"gold.m_{published.path.stem[5:]}_predictions"]
    assert len(told["failed_audits"]) == 1
    assert "No MLflow is set" in told["remarks"][0]

    page = Page(out.read_text(encoding="utf-8"))
    text = " ".join(page.text.split())
    assert all(link.startswith("#") for link in page.links)
    assert {link[1:] for link in page.links} <= set(page.ids)
    for short, name in published.tables.items():
        table = published.read(short)
        written = datetime.fromtimestamp(table.current_snapshot().timestamp_ms / 1000, UTC)
        rows = counted[name]
        card = text[text.index(f"{name} {rows} row{'' if rows == 1 else 's'}, written") :].partition("Answered by")[0]
        assert f"Written {written:%Y-%m-%d %H:%M} UTC" in card
        assert "Owner shop-team" in card
        for column in table.schema().fields:
            assert f" {column.name} " in card
        assert str(table.current_snapshot().snapshot_id) in text

    least, most = sql(published.read("silver"), "SELECT min(amount), max(amount) FROM t")
    assert f"between(amount) passed min {least}, max {most}" in text
    failing, batch = sql(
        published.read("silver", published.branch),
        "SELECT count(*) FILTER (amount NOT BETWEEN 0 AND 100), count(*) FROM t "
        "WHERE \"at\" BETWEEN '2024-01-06' AND '2024-01-07'",
    )
    assert (failing, batch) == (2, 3)
    assert f"Failing rows {failing} of {batch}" in text
    assert published.branch in text
    assert f"✕ {published.tables['silver']} {counted[published.tables['bronze']]} in → 2 out" in text
    assert f"from {published.tables['silver']}" in text  # the edge to the predictions, in the lists


def test_it_says_where_it_wrote_and_what_it_could_not_ask(
    published: Published,
    project: Settings,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["report", "-p", str(published.path), "--dir", str(project.project_dir)]
    assert main(command) == 0
    told = capsys.readouterr()
    assert told.out == f"wrote {tmp_path / 'report.html'}\n"
    assert "No MLflow is set" in told.err
    assert main([*command, "--out", str(tmp_path)]) == 1
    assert f"The report {tmp_path} can't be written: it exists and is not a file." in capsys.readouterr().err
