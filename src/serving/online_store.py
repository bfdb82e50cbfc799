"""Lookups: the features of one entity or of many, from Redis, in one round trip.

```python
from asgard.serving import OnlineStore

store = OnlineStore("redis://127.0.0.1:6379/0")
row = store.lookup("customer_metrics", {"customer_id": 7})
row["total_spend"], row.status, row.snapshot_id, row.age
```

The heads of the views and all rows are read by one command, and Redis runs a command alone: so rows and the snapshot
that is told with them belong together, and a view that is built anew is seen as it was before or as it is after.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from asgard.common.errors import ServiceError
from asgard.common.settings import Settings, load_settings
from asgard.features.views import OnDemandFeature
from asgard.serving.asked import Asked, Known, Row
from asgard.serving.cache import RowCache
from asgard.serving.connection import answered
from asgard.serving.head import Head
from asgard.serving.store import Store

_TRIES = 5
"""Round trips of one lookup, each of which may find a view changed over; the second nearly always does."""


_RETRIES = 1
"""Of a lost connection: who looks up waits for an answer."""


class _Client:
    """What both clients have.

    Args:
        url: of Redis, as `REDIS_URL`; by default that of the settings.
        prefix: that the keys of this lakehouse begin with.
        timeout: seconds to wait for an answer.
        cache_seconds: how old an answer from this process's own memory may be; 0: none is.
        cache_rows: how many answers are remembered.
        settings: instead of those of this process.

    Raises:
        SettingsError: no Redis is set, or its address can't be read.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        prefix: str | None = None,
        timeout: float = 1.0,
        cache_seconds: float = 0.0,
        cache_rows: int = 10_000,
        settings: Settings | None = None,
    ) -> None:
        if url is None:
            settings = settings or load_settings({"online_prefix": prefix})
            self._store = Store.of(settings, timeout=timeout, retries=_RETRIES)
        else:
            self._store = Store(url, prefix or "asgard", timeout=timeout, retries=_RETRIES)
        self._known: Known = {}
        self._cache = RowCache(cache_seconds, cache_rows)

    def _asked(
        self,
        views: str | Sequence[str],
        entities: Sequence[Mapping[str, Any]],
        on_demand: Sequence[OnDemandFeature] = (),
        request: Sequence[Mapping[str, Any]] | None = None,
    ) -> Asked:
        names = (views,) if isinstance(views, str) else tuple(views)
        return Asked(self._store, names, tuple(entities), tuple(on_demand), tuple(request or ()))

    def _remembered(self, asked: Asked, keys: Sequence[bytes]) -> list[Row] | None:
        names = asked.names(keys) if self._cache.is_on and not asked.on_demand else []
        return self._cache.get(names) if names else None

    def _take(
        self, asked: Asked, known: Known, keys: Sequence[bytes], found: Sequence[bytes | None], began: float
    ) -> list[Row] | None:
        """What the answers mean; None if a view changed over."""
        fresh = asked.heads(found, known)
        self._known = {**self._known, **fresh}
        rows = asked.rows(found, known, fresh)
        if rows is not None and self._cache.is_on and not asked.on_demand:
            self._cache.put(asked.names(keys), rows, began)
        return rows

    def _unsteady(self, asked: Asked) -> ServiceError:
        return ServiceError(
            f"{', '.join(asked.views)} changed over at each of {_TRIES} tries.",
            hint="Is it built anew again and again?",
        )


class OnlineStore(_Client):
    """A client for lookups; one serves all threads of a process. See `_Client` for its arguments."""

    def head(self, view: str) -> Head:
        """What Redis has of a view: its layout, its snapshot, how old.

        Raises:
            UsageError: Redis has no such view.
            ServiceUnreachableError: Redis does not answer in time.
        """
        asked = self._asked(view, ())
        return asked.heads(self._read(asked.keys({})), self._known)[view][1]

    def lookup(
        self,
        views: str | Sequence[str],
        entity: Mapping[str, Any],
        *,
        on_demand: Sequence[OnDemandFeature] = (),
        request: Mapping[str, Any] | None = None,
    ) -> Row:
        """The features of one entity.

        Args:
            views: one or several, as registered.
            entity: key -> value, with the keys of all the views.
            on_demand: functions to compute over the features, as the pipeline declares them.
            request: what they need that is in no view.

        Raises:
            UsageError: Redis has no such view, the entity lacks a key, or a value is of another type.
            ServiceUnreachableError: Redis does not answer in time.
            ServiceError: it refuses, or something else wrote the values.
        """
        return self.lookup_many(views, [entity], on_demand=on_demand, request=None if request is None else [request])[0]

    def lookup_many(
        self,
        views: str | Sequence[str],
        entities: Sequence[Mapping[str, Any]],
        *,
        on_demand: Sequence[OnDemandFeature] = (),
        request: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[Row]:
        """The features of many entities, in their order; `request` has one mapping for each. See `lookup`."""
        asked = self._asked(views, entities, on_demand, request)
        for _ in range(_TRIES):
            known, began = self._known, time.monotonic()
            keys = asked.keys(known)
            rows = self._remembered(asked, keys)
            if rows is None:
                rows = self._take(asked, known, keys, self._read(keys), began)
            if rows is not None:
                return rows
        raise self._unsteady(asked)

    def close(self) -> None:
        """Close its connections."""
        self._store.client.close()

    def _read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self._store.values(keys)


class AsyncOnlineStore(_Client):
    """The same for asyncio: each method is to be awaited, in one event loop. See `_Client` for its arguments."""

    async def head(self, view: str) -> Head:
        """See `OnlineStore.head`."""
        asked = self._asked(view, ())
        return asked.heads(await self._read(asked.keys({})), self._known)[view][1]

    async def lookup(
        self,
        views: str | Sequence[str],
        entity: Mapping[str, Any],
        *,
        on_demand: Sequence[OnDemandFeature] = (),
        request: Mapping[str, Any] | None = None,
    ) -> Row:
        """See `OnlineStore.lookup`."""
        many = None if request is None else [request]
        return (await self.lookup_many(views, [entity], on_demand=on_demand, request=many))[0]

    async def lookup_many(
        self,
        views: str | Sequence[str],
        entities: Sequence[Mapping[str, Any]],
        *,
        on_demand: Sequence[OnDemandFeature] = (),
        request: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[Row]:
        """See `OnlineStore.lookup_many`."""
        asked = self._asked(views, entities, on_demand, request)
        for _ in range(_TRIES):
            known, began = self._known, time.monotonic()
            keys = asked.keys(known)
            rows = self._remembered(asked, keys)
            if rows is None:
                rows = self._take(asked, known, keys, await self._read(keys), began)
            if rows is not None:
                return rows
        raise self._unsteady(asked)

    async def close(self) -> None:
        """Close its connections."""
        await self._store.asynchronous.aclose()

    async def _read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        with answered(self._store.where):
            found: list[bytes | None] = await self._store.asynchronous.mget(keys)
        return found
