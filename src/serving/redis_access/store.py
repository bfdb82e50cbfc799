"""The Redis of one lakehouse: its connection, and the names of Asgard's keys in it."""

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
        url: the address of Redis, with its password.
        prefix: start of all keys.
        timeout: seconds to wait for an answer.
        is_patient: see `open_redis`.
    """

    def __init__(self, url: str, prefix: str = "asgard", *, timeout: float = 10.0, is_patient: bool = True) -> None:
        self._url, self.prefix = url, prefix
        self._options: dict[str, Any] = {"timeout": timeout, "is_patient": is_patient}
        self.where = redact_url(url)

    @classmethod
    def of(cls, settings: Settings, *, timeout: float = 10.0, is_patient: bool = True) -> "Store":
        """Return the Redis named in the settings.

        Raises:
            SettingsError: no Redis is set, and no local services were started.
        """
        if settings.redis_url is None:
            raise SettingsError(
                f"No Redis is set: redis_url has no value, and no services were started in {settings.project_dir}.",
                hint="Run `asgard up` for services on this machine, or set REDIS_URL.",
            )
        return cls(settings.redis_url.reveal(), settings.online_prefix, timeout=timeout, is_patient=is_patient)

    @cached_property
    def client(self) -> Any:
        """The client of redis-py."""
        return open_redis(self._url, **self._options)

    @cached_property
    def asynchronous(self) -> Any:
        """The client of redis-py for asyncio."""
        return open_redis(self._url, **self._options, asynchronous=True)

    def require_fit(self) -> dict[str, str]:
        """Refuse a Redis that could lose data; returns the fields of INFO. See `connection.require_fit`."""
        return require_fit(self.client, self.where)

    def server(self) -> dict[str, str]:
        """Return fields of INFO without the checks of `require_fit`, to remove a view; see `fenced`."""
        with answered(self.where):
            return {name: str(value) for name, value in self.client.info("server").items()}

    @property
    def owner(self) -> str:
        """A short name of this Redis and prefix, for holds; it does not depend on how the address is written."""
        return hashlib.sha256(f"{_place_of(self._url)} {self.prefix}".encode()).hexdigest()[:8]

    def keys(self, view: str) -> ViewKeys:
        """Names of a view's keys."""
        return ViewKeys(self.prefix, view)

    def synced(self, view: str) -> Synced:
        """Read the state of a view."""
        return read(self.client, self.keys(view), self.where)

    def fenced(self, view: str, server: Mapping[str, str]) -> Fenced:
        """Take the right to write a view until another sync of it begins; `server` is the result of `require_fit`."""
        return Fenced.taken(self.client, self.keys(view), self.where, server)

    def joined(self, view: str, permit: WritePermit) -> Fenced:
        """Use a right that another process took and passed to this one."""
        return Fenced(self.client, self.keys(view), self.where, permit, Synced())

    @property
    def address(self) -> dict[str, str]:
        """Arguments that make the same `Store` in another process; includes the password."""
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
        """Names of keys with this start and end, and of this Redis type, in batches; a name may appear twice."""
        pattern, cursor = _literal(start) + b"*" + _literal(end), 0
        while True:
            with answered(self.where):
                cursor, names = self.client.scan(cursor, match=pattern, count=_SCANNED, _type=kind)
            if names:
                yield names
            if cursor == 0:
                return


def _place_of(url: str) -> str:
    """Hosts and database of an address; for a Redis on this machine, with this machine's name."""
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
    """Escape a text for a pattern of SCAN, so that it matches literally."""
    return b"".join(b"\\" + bytes([each]) if each in b"*?[]\\^-" else bytes([each]) for each in part)
