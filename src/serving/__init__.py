"""Online serving: Redis kept equal to a published snapshot, and lookups of what it holds."""

from asgard.serving.lookup.results import Answer, Row, Rows, Status
from asgard.serving.lookup_audit.log import LookupLog
from asgard.serving.online_store import AsyncOnlineStore, OnlineStore

__all__ = ["Answer", "AsyncOnlineStore", "LookupLog", "OnlineStore", "Row", "Rows", "Status"]
