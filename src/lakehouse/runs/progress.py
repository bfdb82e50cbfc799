"""How far each table of a pipeline is."""

import json
from collections.abc import Sequence

from asgard.common.names import TableName
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.declaration import Table
from asgard.lakehouse.declaring.intervals import RangeSet
from asgard.lakehouse.declaring.planning import Progress
from asgard.lakehouse.runs.tables import INPUTS_PROPERTY, INTERVALS_PROPERTY
from asgard.lakehouse.runs.takeover import foreign_owner


def read_progress(lake: Lakehouse, tables: Sequence[Table], ref: str) -> dict[TableName, Progress]:
    """What is computed of each table at a ref (`name` or `name@hash`), and which of its inputs moved since."""
    names = {table.name for table in tables} | {name for table in tables for name in table.inputs.values()}
    contents = lake.nessie.contents(ref, sorted(names))
    found = {}
    for table in tables:
        content = contents.get(table.name)
        if content is None:
            found[table.name] = Progress()
            continue
        properties = TableState.load(content.metadata_location, lake.settings).properties
        used = json.loads(properties.get(INPUTS_PROPERTY, "{}"))
        stale = [
            name
            for name in table.inputs.values()
            if name in contents and used.get(str(name)) != contents[name].snapshot_id
        ]
        done = RangeSet.parse(properties.get(INTERVALS_PROPERTY, ""))
        found[table.name] = Progress(
            exists=True, done=done, stale_inputs=tuple(stale), belongs_to=foreign_owner(table, properties)
        )
    return found
