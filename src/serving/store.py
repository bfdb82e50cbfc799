"""The Redis of one lakehouse: its connection, and the names of what Asgard keeps there."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from asgard.common.errors import SettingsError
from asgard.common.settings import Settings, redact_url
from asgard.serving.connection import answered, open_redis, require_fit
from asgard.serving.state import Fenced, Synced, ViewKeys, read

_SCANNED = 5_000


class Store:
    """Redis as Asgard uses it.

    Args:
        url: of Redis, with its password.
        prefix: that all keys begin with.
        timeout: seconds to wait for an answer.
        retries: see `open_redis`.
    """

    def __init__(self, url: str, prefix: str = "asgard", *, timeout: float = 10.0, retries: int = 5) -> None:
        self._url, self.prefix = url, prefix
        self._options: dict[str, Any] = {"timeout": timeout, "retries": retries}
        self.where = redact_url(url)

    @classmethod
    def of(cls, settings: Settings, *, timeout: float = 10.0, retries: int = 5) -> "Store":
        """The Redis that the settings name.

        Raises:
            SettingsError: none is set, and no local services were started.
        """
        if settings.redis_url is None:
            raise SettingsError(
                f"No Redis is set: redis_url has no value, and no services were started in {settings.project_dir}.",
                hint="Run `asgard up` for services on this machine, or set REDIS_URL.",
            )
        return cls(settings.redis_url.reveal(), settings.online_prefix, timeout=timeout, retries=retries)

    @cached_property
    def client(self) -> Any:
        """redis-py's."""
        return open_redis(self._url, **self._options)

    @cached_property
    def asynchronous(self) -> Any:
        """redis-py's, for asyncio."""
        return open_redis(self._url, **self._options, asynchronous=True)

    def require_fit(self) -> dict[str, str]:
        """Refuse a Redis that would lose what it is given; what INFO says. See `connection.require_fit`."""
        return require_fit(self.client, self.where)

    @property
    def owner(self) -> str:
        """A short name of this Redis and prefix, for holds."""
        return hashlib.sha256(f"{self.where} {self.prefix}".encode()).hexdigest()[:8]

    def keys(self, view: str) -> ViewKeys:
        """Names of a view's keys."""
        return ViewKeys(self.prefix, view)

    def synced(self, view: str) -> Synced:
        """What Redis holds of a view."""
        return read(self.client, self.keys(view), self.where)

    def fenced(self, view: str, server: Mapping[str, str]) -> Fenced:
        """The right to write a view, until another sync of it begins; `server` as `require_fit` gave it."""
        return Fenced(self.client, self.keys(view), self.where, server)

    def values(self, names: Sequence[bytes]) -> list[bytes | None]:
        """The values of some keys."""
        if not names:
            return []
        with answered(self.where):
            found: list[bytes | None] = self.client.mget(names)
        return found

    def names(self, start: bytes) -> Iterator[list[bytes]]:
        """The names of keys that begin so, by batches; a name may come twice."""
        pattern = b"".join(b"\\" + bytes([each]) if each in b"*?[]\\^-" else bytes([each]) for each in start) + b"*"
        cursor = 0
        while True:
            with answered(self.where):
                cursor, found = self.client.scan(cursor, match=pattern, count=_SCANNED)
            if found:
                yield found
            if cursor == 0:
                return

    def entities(self, start: bytes) -> Iterator[list[bytes]]:
        """The same, as entities of a view: without what the names begin with."""
        for names in self.names(start):
            yield [name.removeprefix(start) for name in names]
