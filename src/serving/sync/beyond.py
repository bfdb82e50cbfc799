"""Which entities Redis has that a snapshot does not: names of both sides, kept by DuckDB within its memory bound."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_BATCH = 5_000


class Names:
    """Names of entities that a snapshot has.

    Args:
        connection: of DuckDB; other queries of it may be read meanwhile.
    """

    def __init__(self, connection: "DuckDBPyConnection") -> None:
        self._connection = connection.cursor()
        self._connection.execute("CREATE OR REPLACE TABLE entities_right (entity BLOB)")
        self._connection.execute("CREATE OR REPLACE TABLE entities_there (entity BLOB)")

    def add(self, entities: Sequence[bytes]) -> None:
        """Some that are right."""
        self._insert("entities_right", entities)

    def beyond(self, there: Iterable[Sequence[bytes]]) -> Iterator[list[bytes]]:
        """Of those that are there the ones that are not right, each once."""
        for entities in there:
            self._insert("entities_there", entities)
        found = self._connection.sql(
            "SELECT DISTINCT entity FROM entities_there ANTI JOIN entities_right USING (entity)"
        )
        for batch in found.to_arrow_reader(_BATCH):  # streamed: what `execute` gives is kept whole
            yield batch.column(0).to_pylist()

    def _insert(self, table: str, entities: Sequence[bytes]) -> None:
        import pyarrow as pa

        if entities:
            given = pa.table({"entity": pa.array(entities, pa.binary())})
            self._connection.register("given", given)
            self._connection.execute(f"INSERT INTO {table} FROM given")
            self._connection.unregister("given")
