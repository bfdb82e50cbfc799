"""Online serving: Redis kept equal to a published snapshot, and lookups of what it holds."""

from asgard.serving.asked import Answer, Row, Status
from asgard.serving.online_store import AsyncOnlineStore, OnlineStore

__all__ = ["Answer", "AsyncOnlineStore", "OnlineStore", "Row", "Status"]
