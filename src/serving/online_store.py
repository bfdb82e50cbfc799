"""Lookups: the features of one entity or of many, from Redis, in one round trip.

```python
from asgard.serving import OnlineStore

store = OnlineStore("redis://127.0.0.1:6379/0")
row = store.lookup("customer_metrics", {"customer_id": 7})
row["total_spend"], row.status, row.snapshot_id, row.age
```

One command reads the heads of the views and all rows of codec `packed`. Redis runs each command alone, so the rows and
the snapshot reported with them belong together. While a view is rebuilt, a lookup sees either the old rows or the new
ones, never a mix. With codec `feast`, one command reads each entity, and the heads are read before and after the rows:
if a head changed, everything is read again. Unlike MULTI, these reads need no free memory: a full Redis answers them.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from time import perf_counter
from typing import Any

from asgard.common.errors import ServiceError, UsageError
from asgard.common.settings import Settings, load_settings
from asgard.features.views import OnDemandFeature
from asgard.serving.lookup.cache import ValueCache
from asgard.serving.lookup.connections import KeptConnections
from asgard.serving.lookup.request import CachedView, LookupRequest, ReadPlan, RedisReplies, changed_over
from asgard.serving.lookup.results import Row, Rows
from asgard.serving.lookup.view_header import Head
from asgard.serving.lookup_audit.log import LookupLog
from asgard.serving.redis_access.connection import answered, clients_of
from asgard.serving.redis_access.store import Store

_TRIES = 5
"""Most round trips of one lookup; one is repeated if a view switched generations, which rarely happens twice."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Observer = Callable[[Sequence[str], float], None]
Reading = Generator[ReadPlan, RedisReplies, Rows]
"""A lookup: yields what to read, is sent the answers, and returns the rows."""


class _Client:
    """What the synchronous and the asyncio client share.

    Args:
        url: the address of Redis, in the form of `REDIS_URL`; by default the one in the settings.
        prefix: start of all Redis keys of this lakehouse.
        timeout: seconds to wait for an answer; a lost connection is reopened once.
        cache_seconds: greatest age of an answer from this process's own cache; 0: no cache.
        cache_rows: most rows in the cache.
        observe: called with the views and the seconds of each lookup, including failed ones;
            `asgard.monitoring.lookups.lookup_latency` makes a histogram of them.
        log: receives each answer, and writes a sample of them; the caller closes it.
        settings: used instead of this process's settings.

    Raises:
        SettingsError: no Redis is set, or its address is invalid.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        prefix: str | None = None,
        timeout: float = 1.0,
        cache_seconds: float = 0.0,
        cache_rows: int = 10_000,
        observe: Observer | None = None,
        log: LookupLog | None = None,
        settings: Settings | None = None,
    ) -> None:
        if url is None:
            settings = settings or load_settings({"online_prefix": prefix})
            self._store = Store.of(settings, timeout=timeout, is_patient=False)
        else:
            self._store = Store(url, prefix or "asgard", timeout=timeout, is_patient=False)
        self._cached_views: Mapping[str, CachedView] = {}
        self._cache = ValueCache(cache_seconds, cache_rows)
        self._observe, self._log = observe, log

    def _reading(
        self,
        views: str | Sequence[str],
        entities: Sequence[Mapping[str, Any]],
        now: datetime | None = None,
        on_demand: Sequence[OnDemandFeature] = (),
        request: Sequence[Mapping[str, Any]] = (),
    ) -> Reading:
        names = (views,) if isinstance(views, str) else tuple(views)
        began = perf_counter()
        try:
            lookup = LookupRequest(self._store, names, entities, _micros(now), on_demand, request)
            for _ in range(_TRIES):
                before, moment = [self._cached_views.get(view) for view in names], self._cache.now()
                try:
                    rows = lookup.rows(before)
                except UsageError:  # the cached view may be outdated: check against the current one
                    answers = yield lookup.plan(before, ())
                    current = lookup.current(before, answers.heads)
                    self._cached_views = {**self._cached_views, **dict(zip(names, current, strict=True))}
                    if not changed_over(before, current):
                        raise
                    continue
                remembered = self._cache.get(rows) if self._cache.is_on else None
                stored = remembered
                if stored is None:
                    answers = yield lookup.plan(before, rows)
                    current = lookup.current(before, answers.heads_after)
                    if current != before:
                        self._cached_views = {**self._cached_views, **dict(zip(names, current, strict=True))}
                    if changed_over(before, current) or answers.heads_after != answers.heads:
                        continue
                    stored = lookup.stored(current, answers.rows)
                answer = lookup.answer(stored)
                if self._cache.is_on and remembered is None:
                    self._cache.put(rows, stored, moment)
                if self._log is not None and entities:
                    self._log.offer(answer)
                return answer
            raise ServiceError(
                f"{', '.join(names)} switched generations during each of {_TRIES} tries.",
                hint="Check whether something rebuilds the view repeatedly; then look it up again.",
            )
        finally:
            if self._observe is not None and entities:
                self._observe(names, perf_counter() - began)


def _micros(now: datetime | None) -> int | None:
    if now is None:
        return None
    if not isinstance(now, datetime):
        raise UsageError(f"now is {now!r}, which is not a datetime.", hint="E.g. datetime(2018, 1, 1, tzinfo=UTC).")
    if now.tzinfo is None:
        raise UsageError(
            f"now is {now.isoformat()}, which has no time zone.", hint="E.g. datetime(2018, 1, 1, tzinfo=UTC)."
        )
    return (now - _EPOCH) // _MICROSECOND


class OnlineStore(_Client):
    """A client for lookups; all threads of a process can share one. See `_Client` for its arguments."""

    def head(self, view: str) -> Head:
        """Return the head of a view in Redis: its layout, its snapshot and its age.

        Raises:
            UsageError: Redis has no such view.
            ServiceUnreachableError: Redis does not answer in time.
        """
        return self._read(self._reading(view, ())).views[0].head

    def lookup(
        self,
        views: str | Sequence[str],
        entity: Mapping[str, Any],
        *,
        now: datetime | None = None,
        on_demand: Sequence[OnDemandFeature] = (),
        request: Mapping[str, Any] | None = None,
    ) -> Row:
        """Look up the features of one entity.

        Args:
            views: names of one or several registered views.
            entity: key -> value, with the keys of all the views.
            now: the moment at which a view's ttl is evaluated, with a time zone; by default the current time. The rows
                are always the latest published ones.
            on_demand: functions to compute over the features, as the pipeline declares them.
            request: inputs of these functions that are in no view.

        Raises:
            UsageError: Redis has no such view, the entity lacks a key, or a value is of another type.
            ServiceUnreachableError: Redis does not answer in time.
            ServiceError: Redis refuses, or a value is not in its view's layout.
        """
        many = () if request is None else (request,)
        return self._read(self._reading(views, (entity,), now, on_demand, many))[0]

    def lookup_many(
        self,
        views: str | Sequence[str],
        entities: Sequence[Mapping[str, Any]],
        *,
        now: datetime | None = None,
        on_demand: Sequence[OnDemandFeature] = (),
        request: Sequence[Mapping[str, Any]] = (),
    ) -> Rows:
        """Look up many entities, in the given order; `request` has one mapping for each entity. See `lookup`."""
        return self._read(self._reading(views, tuple(entities), now, on_demand, request))

    def close(self) -> None:
        """Close the connections to Redis."""
        for client in clients_of(self._store.client):
            client.close()

    @cached_property
    def _connections(self) -> KeptConnections:
        return KeptConnections(self._store.client)

    def _read(self, reading: Reading) -> Rows:
        try:
            plan = next(reading)
            while True:
                plan = reading.send(self._values(plan))
        except StopIteration as ended:
            rows: Rows = ended.value
            return rows
        finally:
            reading.close()

    def _values(self, plan: ReadPlan) -> RedisReplies:
        try:
            return plan.read(self._connections.read(plan.commands))
        except Exception:
            with answered(self._store.where):
                raise


class AsyncOnlineStore(_Client):
    """A client for lookups with asyncio: await each method, in one event loop. See `_Client` for its arguments."""

    async def head(self, view: str) -> Head:
        """See `OnlineStore.head`."""
        return (await self._read(self._reading(view, ()))).views[0].head

    async def lookup(
        self,
        views: str | Sequence[str],
        entity: Mapping[str, Any],
        *,
        now: datetime | None = None,
        on_demand: Sequence[OnDemandFeature] = (),
        request: Mapping[str, Any] | None = None,
    ) -> Row:
        """See `OnlineStore.lookup`."""
        many = () if request is None else (request,)
        return (await self._read(self._reading(views, (entity,), now, on_demand, many)))[0]

    async def lookup_many(
        self,
        views: str | Sequence[str],
        entities: Sequence[Mapping[str, Any]],
        *,
        now: datetime | None = None,
        on_demand: Sequence[OnDemandFeature] = (),
        request: Sequence[Mapping[str, Any]] = (),
    ) -> Rows:
        """See `OnlineStore.lookup_many`."""
        return await self._read(self._reading(views, tuple(entities), now, on_demand, request))

    async def close(self) -> None:
        """Close the connections to Redis."""
        for client in clients_of(self._store.asynchronous):
            await client.aclose()

    async def _read(self, reading: Reading) -> Rows:
        try:
            plan = next(reading)
            while True:
                with answered(self._store.where):
                    values = await self._values(plan)
                plan = reading.send(values)
        except StopIteration as ended:
            rows: Rows = ended.value
            return rows
        finally:
            reading.close()

    async def _values(self, plan: ReadPlan) -> RedisReplies:
        if not plan.hashes:
            return plan.read([await self._store.asynchronous.mget(plan.names)])
        async with self._store.asynchronous.pipeline(transaction=False) as pipe:
            for command in plan.commands:
                pipe.execute_command(*command)
            return plan.read(await pipe.execute())
