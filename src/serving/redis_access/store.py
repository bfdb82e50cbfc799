"""The Redis of one lakehouse: its connection, and the names of what Asgard keeps there."""

import hashlib
import socket
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, urlsplit

from asgard.common.errors import SettingsError
from asgard.common.settings import Settings, redact_url
from asgard.serving.redis_access.connection import answered, open_redis, require_fit
from asgard.serving.redis_access.fence import Fenced, WritePermit
from asgard.serving.redis_access.state import Synced, ViewKeys, read

_SCANNED = 5_000


class Store:
    """Redis as Asgard uses it.

    Args:
        url: of Redis, with its password.
        prefix: that all keys begin with.
        timeout: seconds to wait for an answer.
        is_patient: see `open_redis`.
    """

    def __init__(self, url: str, prefix: str = "asgard", *, timeout: float = 10.0, is_patient: bool = True) -> None:
        self._url, self.prefix = url, prefix
        self._options: dict[str, Any] = {"timeout": timeout, "is_patient": is_patient}
        self.where = redact_url(url)

    @classmethod
    def of(cls, settings: Settings, *, timeout: float = 10.0, is_patient: bool = True) -> "Store":
        """The Redis that the settings name.

        Raises:
            SettingsError: none is set, and no local services were started.
        """
        if settings.redis_url is None:
            raise SettingsError(
                f"No Redis is set: redis_url has no value, and no services were started in {settings.project_dir}.",
                hint="Run `asgard up` for services on this machine, or set REDIS_URL.",
            )
        return cls(settings.redis_url.reveal(), settings.online_prefix, timeout=timeout, is_patient=is_patient)

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

    def server(self) -> dict[str, str]:
        """What INFO says of a Redis that is only emptied, so that it need not be fit; see `fenced`."""
        with answered(self.where):
            return {name: str(value) for name, value in self.client.info("server").items()}

    @property
    def owner(self) -> str:
        """A short name of this Redis and prefix, for holds: the same however its address is written."""
        return hashlib.sha256(f"{_place_of(self._url)} {self.prefix}".encode()).hexdigest()[:8]

    def keys(self, view: str) -> ViewKeys:
        """Names of a view's keys."""
        return ViewKeys(self.prefix, view)

    def synced(self, view: str) -> Synced:
        """What Redis holds of a view."""
        return read(self.client, self.keys(view), self.where)

    def fenced(self, view: str, server: Mapping[str, str]) -> Fenced:
        """The right to write a view, until another sync of it begins; `server` as `require_fit` gave it."""
        return Fenced.taken(self.client, self.keys(view), self.where, server)

    def joined(self, view: str, permit: WritePermit) -> Fenced:
        """A right that another process took, for one that works for it."""
        return Fenced(self.client, self.keys(view), self.where, permit, Synced())

    @property
    def address(self) -> dict[str, str]:
        """What another process makes the same `Store` of; with the password."""
        return {"url": self._url, "prefix": self.prefix}

    def values(self, names: Sequence[bytes]) -> list[bytes | None]:
        """The values of some keys."""
        if not names:
            return []
        with answered(self.where):
            values: list[bytes | None] = self.client.mget(names)
        return values

    def fields(self, names: Sequence[bytes], fields: Sequence[bytes]) -> list[list[bytes | None]]:
        """Some fields of some hashes."""
        with answered(self.where), self.client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hmget(name, fields)
            values: list[list[bytes | None]] = pipe.execute()
        return values

    def names(self, start: bytes = b"", end: bytes = b"", kind: str | None = None) -> Iterator[list[bytes]]:
        """The names of keys that begin and end so, of a type as Redis says it, by batches; a name may come twice."""
        pattern, cursor = _literal(start) + b"*" + _literal(end), 0
        while True:
            with answered(self.where):
                cursor, names = self.client.scan(cursor, match=pattern, count=_SCANNED, _type=kind)
            if names:
                yield names
            if cursor == 0:
                return


def _place_of(url: str) -> str:
    """Hosts and database of an address; a Redis on this machine is this machine's."""
    parts = urlsplit(url)
    hosts = [each if each.rpartition(":")[2].isdigit() else f"{each}:6379" for each in _hosts(parts.netloc)]
    database = parts.path.strip("/") or parse_qs(parts.query).get("db", ["0"])[0]
    is_here = parts.scheme == "unix" or any(each.rpartition(":")[0] in _HERE for each in hosts)
    here = [socket.gethostname()] if is_here else []
    return " ".join([*here, *sorted(f"here:{each.rpartition(':')[2]}" if here else each for each in hosts), database])


def _hosts(netloc: str) -> list[str]:
    return [each.lower() for each in netloc.rpartition("@")[2].split(",") if each]


_HERE = ("localhost", "127.0.0.1", "[::1]")


def _literal(part: bytes) -> bytes:
    """As a pattern of SCAN, in which nothing has another meaning."""
    return b"".join(b"\\" + bytes([each]) if each in b"*?[]\\^-" else bytes([each]) for each in part)
