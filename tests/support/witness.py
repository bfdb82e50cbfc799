"""The official Python client of Nessie, as people use it beside Asgard, with results in Asgard's terms."""

import warnings
from collections.abc import Iterator
from itertools import islice
from typing import Any

with warnings.catch_warnings():  # marshmallow warns about how pynessie calls it
    warnings.simplefilter("ignore")
    import pynessie
    from pynessie.error import NessieNotFoundException
    from pynessie.model import Branch, ContentKey, Delete, IcebergTable, Put, Tag

from asgard.common.names import TableName
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import RefKind

__all__ = ["Delete", "NessieNotFoundException", "Put", "Witness"]


class Witness:
    """pynessie, connected to the lakehouse's Nessie.

    Attributes:
        client: the client of pynessie itself.
    """

    def __init__(self, lake: Lakehouse) -> None:
        config = {"endpoint": f"{lake.nessie.uri}/api/v1", "verify": True, "default_branch": "main"}
        self.client: Any = pynessie.init(config_dict={**config, "auth": {"type": "none"}})

    def head(self, reference: str) -> str:
        """The commit of a branch or tag."""
        return str(self.client.get_reference(reference).hash_)

    def references(self) -> dict[str, tuple[RefKind, str]]:
        """Every branch and tag: its kind and its commit."""
        kinds = {Branch: RefKind.BRANCH, Tag: RefKind.TAG}
        return {each.name: (kinds[type(each)], each.hash_) for each in self.client.list_references().references}

    def log(self, reference: str, count: int) -> Iterator[Any]:
        """The newest commits of a reference, with their operations."""
        return islice(self.client.get_log(reference, max_records=count, fetch_all=True), count)

    def table(self, name: TableName, reference: str, at: str | None = None) -> IcebergTable:
        """The content of a table's key."""
        return self.client.get_content(reference, ContentKey([name.layer, name.name]), at)

    def keys(self, reference: str) -> dict[tuple[str, ...], str]:
        """Every key of a reference, and the kind of its content."""
        return {tuple(each.name.elements): each.kind for each in self.client.list_keys(reference).entries}

    def put(self, reference: str, name: TableName, content: IcebergTable) -> str:
        """Commit an existing table's content under another key, as a new table."""
        own = IcebergTable(
            None,
            content.metadata_location,
            content.snapshot_id,
            content.schema_id,
            content.spec_id,
            content.sort_order_id,
        )
        operation = Put(ContentKey([name.layer, name.name]), own)
        made = self.client.commit(reference, self.head(reference), "by hand", "somebody", operation)
        return str(made.hash_)

    def drop(self, reference: str) -> None:
        """Delete a branch or tag."""
        found = self.client.get_reference(reference)
        delete = self.client.delete_branch if isinstance(found, Branch) else self.client.delete_tag
        delete(found.name, found.hash_)
