"""One way into Redis: by URL, with timeouts, retries with jitter, and its errors in Asgard's words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from asgard.common.errors import EnvironmentSetupError, ServiceError, ServiceUnreachableError, SettingsError
from asgard.common.settings import redact_url

FLOOR = (6, 2)
"""The oldest Redis that is known to work."""
_SENTINEL = re.compile(r"rediss?\+sentinel")
_LONGEST_PAUSE = 2.0
_CERTIFICATES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")


def open_redis(url: str, *, timeout: float, retries: int, asynchronous: bool = False) -> Any:
    """A client with a pool of connections; nothing is sent yet.

    Args:
        url: `redis://`, `rediss://` (TLS) or `unix://`, with user and password where Redis asks for them; or
            `redis+sentinel://host:26379,host:26379/<service>/<db>` for the primary that Sentinels name.
        timeout: seconds to wait for a connection, and for an answer.
        retries: after a lost connection or a timeout, with growing pauses that are drawn at random.
        asynchronous: for asyncio.

    Raises:
        SettingsError: the URL can't be read.
        EnvironmentSetupError: redis-py is not installed.
    """
    try:
        library: Any = import_module("redis.asyncio" if asynchronous else "redis")
        retry: Any = import_module("redis.asyncio.retry" if asynchronous else "redis.retry")
    except ImportError as error:
        raise EnvironmentSetupError(
            "The online store needs redis-py.", hint="pip install 'asgard-lakehouse[serving]'"
        ) from error
    options = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": _retry(retry.Retry, retries),
        "health_check_interval": 30,
    }
    try:
        if _SENTINEL.fullmatch(urlsplit(url).scheme):
            return _by_sentinel(library.Sentinel if not asynchronous else library.sentinel.Sentinel, url, options)
        return library.Redis.from_url(url, **options)
    except (ValueError, TypeError):
        raise SettingsError(
            f"The address of Redis, {redact_url(url)}, can't be read.",
            hint="E.g. redis://:password@host:6379/0, rediss://host:6380, redis+sentinel://host:26379/mymaster/0; "
            "/, # and @ in a password are written %2F, %23 and %40.",
        ) from None


def _retry(kind: Any, retries: int) -> Any:
    from redis.backoff import ExponentialWithJitterBackoff
    from redis.exceptions import BusyLoadingError, ConnectionError, TimeoutError

    backoff = ExponentialWithJitterBackoff(cap=_LONGEST_PAUSE, base=0.05)
    return kind(backoff, retries, supported_errors=(ConnectionError, TimeoutError, BusyLoadingError))


def _by_sentinel(kind: Any, url: str, options: dict[str, Any]) -> Any:
    parts = urlsplit(url)
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError("the name of the service is missing")
    hosts = parts.netloc.rpartition("@")[2].split(",")
    sentinels = [(host, int(port or 26_379)) for host, _, port in (each.partition(":") for each in hosts)]
    known = {
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
        "ssl": parts.scheme.startswith("rediss"),
    }
    asked = parse_qs(parts.query)
    secure = {"ssl": True, **{name: asked[name][0] for name in _CERTIFICATES if name in asked}} if known["ssl"] else {}
    sentinel = {"password": asked["sentinel_password"][0]} if "sentinel_password" in asked else {}
    found = kind(sentinels, sentinel_kwargs={**options, **secure, **sentinel}, **options)
    given = {name: value for name, value in known.items() if value}
    return found.master_for(service, db=int(database or 0), **given, **{k: v for k, v in secure.items() if k != "ssl"})


@contextmanager
def answered(where: str) -> Iterator[None]:
    """Whatever redis-py raises in the block, in Asgard's words.

    Args:
        where: the address, without its password.

    Raises:
        ServiceUnreachableError: Redis does not answer.
        ServiceError: it refuses: a wrong password, no right, read-only, full, a key of another type.
    """
    from redis import exceptions

    try:
        yield
    except exceptions.AuthenticationError as error:
        raise ServiceError(
            f"Redis at {where} refuses the user or the password.", hint="They are part of REDIS_URL."
        ) from error
    except exceptions.BusyLoadingError as error:
        raise ServiceUnreachableError(
            f"Redis at {where} is still loading its data.", hint="Run it again in a moment."
        ) from error
    except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
        raise _unreachable(where, error) from error
    except exceptions.ResponseError as error:
        raise _refused(where, error) from error
    except exceptions.RedisError as error:
        raise ServiceError(f"Redis at {where}: {error}") from error
    except OSError as error:
        raise _unreachable(where, error) from error


def _unreachable(where: str, error: Exception) -> ServiceUnreachableError:
    if "CERTIFICATE" in str(error) or "certificate" in str(error):
        return ServiceUnreachableError(
            f"Redis at {where} shows a certificate that is not trusted: {error}",
            hint="Name its authority in REDIS_URL: rediss://...?ssl_ca_certs=/path/ca.pem.",
        )
    return ServiceUnreachableError(
        f"Redis at {where} does not answer: {error}", hint="`asgard status` shows the local services."
    )


def _refused(where: str, error: Exception) -> ServiceError:
    said = str(error).rpartition("caused error: ")[2]
    kinds = {type(error).__name__, *(each.__name__ for each in type(error).__mro__)}
    for marks, what, hint in _REFUSALS:
        if any(mark in said or mark in kinds for mark in marks):
            return ServiceError(f"Redis at {where} {what}", hint=hint)
    return ServiceError(f"Redis at {where} refuses: {said}")


_REFUSALS = (
    (("READONLY", "ReadOnlyError"), "is read-only: a replica.", "Use the primary, or redis+sentinel://."),
    (
        ("OOM", "OutOfMemoryError", "used memory"),
        "is full (maxmemory).",
        "Give it more memory; nothing was lost, and a later sync goes on.",
    ),
    (("MISCONF",), "can't write to its disk.", "See its log: the disk may be full."),
    (
        ("NOPERM", "NoPermissionError"),
        "does not allow it.",
        "Its ACL must allow the keys and commands of the online store.",
    ),
    (("NOAUTH",), "asks for a password.", "Put it into REDIS_URL: redis://:password@host:6379/0."),
    (
        ("WRONGTYPE",),
        "has a key of another type where the online store keeps its own.",
        "Use another online_prefix.",
    ),
    (
        ("cluster", "CROSSSLOT", "ClusterCrossSlotError", "MovedError", "hash slot", "hash to the same slot"),
        "is a Redis Cluster.",
        "Use one primary, alone or behind Sentinels.",
    ),
)


def require_fit(client: Any, where: str) -> dict[str, str]:
    """Refuse a Redis that would lose what it is given; returns what INFO says.

    Raises:
        ServiceError: it is a cluster or a replica, too old, or evicts keys that have no ttl.
        ServiceUnreachableError: it does not answer.
    """
    with answered(where):
        info = {str(name): str(value) for name, value in client.info("all").items()}
    version = tuple(map(int, re.findall(r"\d+", info.get("redis_version", ""))[:2]))
    if version and version < FLOOR:
        raise ServiceError(
            f"Redis at {where} is {info['redis_version']}.",
            hint=f"The online store needs {'.'.join(map(str, FLOOR))} or newer.",
        )
    if info.get("cluster_enabled") == "1":
        raise _refused(where, ValueError("cluster_enabled is 1"))
    if info.get("role") == "slave":
        raise _refused(where, ValueError("READONLY"))
    policy = info.get("maxmemory_policy", "noeviction")
    if policy.startswith("allkeys"):
        raise ServiceError(
            f"Redis at {where} evicts keys as it likes (maxmemory-policy {policy}): lookups would miss entities.",
            hint="Set maxmemory-policy to noeviction, or to a volatile one: the online store's keys have no ttl.",
        )
    return info
