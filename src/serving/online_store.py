"""Lookups: the features of one entity or of many, from Redis, in one round trip.

```python
from asgard.serving import OnlineStore

store = OnlineStore("redis://127.0.0.1:6379/0")
row = store.lookup("customer_metrics", {"customer_id": 7})
row["total_spend"], row.status, row.snapshot_id, row.age
```

The heads of the views and all rows of codec `packed` are read by one command, and Redis runs a command alone: so rows
and the snapshot that is told with them belong together, and a view that is built anew is seen as it was before or as it
is after. Of codec `feast` one command reads an entity, and the heads are read before and after: if one moved, all is
read again. Nothing here needs free memory, as MULTI does: a Redis that is full answers all lookups.
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
"""Round trips of one lookup, each of which may find a view changed over; the second nearly always does."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Observer = Callable[[Sequence[str], float], None]
Reading = Generator[ReadPlan, RedisReplies, Rows]
"""A lookup: it gives what to read, is sent the answers, and returns the rows."""


class _Client:
    """What both clients have.

    Args:
        url: of Redis, as `REDIS_URL`; by default that of the settings.
        prefix: that the keys of this lakehouse begin with.
        timeout: seconds to wait for an answer; a lost connection is made again once.
        cache_seconds: how old an answer from this process's own memory may be; 0: none is.
        cache_rows: how many rows are remembered.
        observe: is told the views of each lookup and its seconds, also of one that failed;
            `asgard.monitoring.lookups.lookup_latency` makes a histogram of them.
        log: is given each answer, and writes a sample of them; the caller closes it.
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
                except UsageError:  # is it what the views ask for now?
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
                f"{', '.join(names)} changed over at each of {_TRIES} tries.",
                hint="Is it built anew again and again?",
            )
        finally:
            if self._observe is not None and entities:
                self._observe(names, perf_counter() - began)


def _micros(now: datetime | None) -> int | None:
    if now is None:
        return None
    if not isinstance(now, datetime):
        raise UsageError(f"now is {now!r}, which is no datetime.", hint="E.g. datetime(2018, 1, 1, tzinfo=UTC).")
    if now.tzinfo is None:
        raise UsageError(
            f"now is {now.isoformat()}, which has no time zone.", hint="E.g. datetime(2018, 1, 1, tzinfo=UTC)."
        )
    return (now - _EPOCH) // _MICROSECOND


class OnlineStore(_Client):
    """A client for lookups; one serves all threads of a process. See `_Client` for its arguments."""

    def head(self, view: str) -> Head:
        """What Redis has of a view: its layout, its snapshot, how old.

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
        """The features of one entity.

        Args:
            views: one or several, as registered.
            entity: key -> value, with the keys of all the views.
            now: the moment from which a view's ttl is judged, with a time zone; by default the clock's. The rows are
                those that are published now.
            on_demand: functions to compute over the features, as the pipeline declares them.
            request: what they need that is in no view.

        Raises:
            UsageError: Redis has no such view, the entity lacks a key, or a value is of another type.
            ServiceUnreachableError: Redis does not answer in time.
            ServiceError: it refuses, or something else wrote the values.
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
        """The features of many entities, in their order; `request` has one mapping for each. See `lookup`."""
        return self._read(self._reading(views, tuple(entities), now, on_demand, request))

    def close(self) -> None:
        """Close its connections."""
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
    """The same for asyncio: each method is to be awaited, in one event loop. See `_Client` for its arguments."""

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
        """Close its connections."""
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
