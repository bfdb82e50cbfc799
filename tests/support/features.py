"""A test's pipeline with feature views over one gold table, and invariants of the registered views."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.customer_views import Rows, frame
from tests.support.runs import declared, write_rows

from asgard.cli.app import main
from asgard.common.names import TableName
from asgard.features.feast import registry as feast_registry
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.registrations import Registrations

_PIPELINE = """
from asgard import Pipeline
from asgard.features.views import Feature, feature_view, on_demand

shop = Pipeline("{name}")
shop.source("bronze.{suffix}")


@shop.table("gold.{suffix}", inputs={{"rows": "bronze.{suffix}"}})
def metrics(rows):
    return rows


for view in {views!r}:
    shop.add(
        feature_view(
            view,
            table="gold.{suffix}",
            keys=("customer_id",),
            created_timestamp="created_at",
            online=True,
            features=[Feature("amount", "double", "dollars"), Feature("visits", "int")],
        )
    )
"""
_ON_DEMAND = """

@on_demand(inputs={{"amount": "{view}:amount"}}, request={{"factor": "double"}})
def {name}(amount, factor):
    return amount * factor


shop.add({name})
"""


@dataclass(frozen=True)
class ViewShop:
    """Pipelines over bronze.SUFFIX -> gold.SUFFIX, as files, with views a_SUFFIX, b_SUFFIX, ..."""

    lake: Lakehouse
    folder: Path
    suffix: str

    @property
    def table(self) -> TableName:
        """The gold table."""
        return TableName("gold", self.suffix)

    def view(self, letter: str) -> str:
        """Name of a view."""
        return f"{letter}_{self.suffix}"

    def pipeline(self, letters: str = "ab", *, name: str = "shop", on_demand: str = "") -> str:
        """Write a pipeline with these views, and return its path; `on_demand` names a function over the first view."""
        path = self.folder / f"{name}_{letters}_{self.suffix}{on_demand}.py"
        text = _PIPELINE.format(
            name=f"{name}_{self.suffix}", suffix=self.suffix, views=[self.view(letter) for letter in letters]
        )
        if on_demand:
            text += _ON_DEMAND.format(view=self.view(letters[0]), name=f"{on_demand}_{self.suffix}")
        path.write_text(text)
        return str(path)

    def publish(self, rows: Rows) -> None:
        """Publish more rows to gold, without registering views."""
        bronze = TableName("bronze", self.suffix)
        write_rows(self.lake, declared(bronze, mode="append"), frame(self.lake, rows))
        assert self.run("backfill", "-p", self.pipeline()) == 0

    def run(self, *arguments: str) -> int:
        """Run one command, in this process."""
        return main([*arguments, "--dir", str(self.lake.settings.project_dir)])

    def snapshot(self) -> int:
        """The latest published snapshot."""
        return self.lake.content(self.table, self.lake.target).snapshot_id

    def holds(self, letter: str) -> dict[str, str]:
        """The holds of a view: name -> commit."""
        return {each.name: each.hash for each in self.lake.nessie.references(f"hold_view_{self.view(letter)}_")}


def expect_held(shop: ViewShop, letters: Sequence[str]) -> None:
    """Expect that the snapshot of every registered view is held; this is true at every moment."""
    current = Registrations(shop.lake.storage).current("view")
    for letter in letters:
        registered = current.get(shop.view(letter))
        if registered is not None:
            assert registered.commit in shop.holds(letter).values()
            assert shop.lake.content(shop.table, f"main@{registered.commit}").snapshot_id == registered.snapshot_id


def expect_whole(shop: ViewShop, letters: Sequence[str], *, gone: Sequence[str] = ()) -> None:
    """Expect the views registered at the latest snapshot, each with exactly one hold, and the same views in Feast."""
    from asgard.features.feast.source import SnapshotSource

    registrations = Registrations(shop.lake.storage)
    current = registrations.current("view")
    for letter in letters:
        registered = current[shop.view(letter)]
        assert registered.snapshot_id == shop.snapshot()
        name = f"hold_view_{shop.view(letter)}_{registered.number}-{registered.commit[:16]}"
        assert shop.holds(letter) == {name: registered.commit}
    for letter in (*letters, *gone):
        numbers = [each.number for each in registrations.history("view", shop.view(letter))]
        assert numbers == list(range(1, len(numbers) + 1))
    for letter in gone:
        assert shop.view(letter) not in current
        assert shop.holds(letter) == {}
    store = feast_registry.open_store(shop.lake.settings)
    in_feast = {
        view.name: (view.tags["asgard.snapshot-id"], view.tags["asgard.commit"]) for view in store.list_feature_views()
    }
    current = {name: each for name, each in current.items() if feast_registry.unfit(each) is None}
    assert in_feast == {name: (str(each.snapshot_id), each.commit) for name, each in current.items()}
    sources = [source.name for source in store.list_data_sources() if isinstance(source, SnapshotSource)]
    assert sorted(sources) == sorted(f"{each.table}:{name}" for name, each in current.items())
