"""Which pipeline a published table belongs to: the one that publishes it, until another explicitly takes it over."""

from collections.abc import Iterable, Mapping

from asgard.common.errors import UsageError
from asgard.common.names import TableName
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.declaration import Table
from asgard.lakehouse.runs.tables import PIPELINE_PROPERTY


def foreign_owner(table: Table, properties: Mapping[str, str]) -> str:
    """The other pipeline that a published table belongs to; "" if the table belongs to the declaring one, or to none.

    Args:
        table: as declared; a table that no pipeline declares takes nothing over.
        properties: of the published table.
    """
    owner = properties.get(PIPELINE_PROPERTY, "")
    return owner if table.pipeline and owner != table.pipeline else ""


def foreign_owners(lake: Lakehouse, tables: Iterable[Table], ref: str) -> dict[TableName, str]:
    """The declared tables that belong to another pipeline at a ref, with the name of that pipeline."""
    declared = {table.name: table for table in tables if table.pipeline}
    contents = lake.nessie.contents(ref, sorted(declared)) if declared else {}
    states = {name: TableState.load(each.metadata_location, lake.settings) for name, each in contents.items()}
    owners = {name: foreign_owner(declared[name], state.properties) for name, state in states.items()}
    return {name: owner for name, owner in owners.items() if owner}


def require_own(pipeline: str, owners: Mapping[TableName, str]) -> None:
    """Refuse to write tables of other pipelines.

    Raises:
        UsageError: a table belongs to another pipeline; the message names each, and its pipeline.
    """
    if owners:
        raise UsageError(
            f"Pipeline {pipeline} declares tables that another pipeline published: "
            + ", ".join(f"{name} of {owner}" for name, owner in sorted(owners.items()))
            + ".",
            hint="Choose another name for the table; or pass --take-over, if the pipeline was renamed.",
        )
