"""Online serving: Redis kept equal to a published snapshot, and lookups of the rows in it."""

from typing import TYPE_CHECKING

from asgard.common.lazy import lazy

if TYPE_CHECKING:
    from asgard.serving.lookup.results import Answer, Row, Rows, Status
    from asgard.serving.lookup_audit.log import LookupLog
    from asgard.serving.online_store import AsyncOnlineStore, OnlineStore

__all__ = ["Answer", "AsyncOnlineStore", "LookupLog", "OnlineStore", "Row", "Rows", "Status"]

__getattr__ = lazy(
    __name__,
    {
        "Answer": "asgard.serving.lookup.results",
        "AsyncOnlineStore": "asgard.serving.online_store",
        "LookupLog": "asgard.serving.lookup_audit.log",
        "OnlineStore": "asgard.serving.online_store",
        "Row": "asgard.serving.lookup.results",
        "Rows": "asgard.serving.lookup.results",
        "Status": "asgard.serving.lookup.results",
    },
)
