"""The connection to Redis: by URL, with timeouts and retries, and with Redis's errors as Asgard's errors.

A lost connection is retried with growing random pauses; a refusal is never retried. redis-py retries at several nested
layers: to find the primary, to connect, to send. Here only the outermost layer retries, because nested retries would
multiply. A rejected user, password or certificate is not retried either: it would be rejected again.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from asgard.common.errors import EnvironmentSetupError, ServiceError, ServiceUnreachableError, SettingsError, installing
from asgard.common.settings import redact_url

FLOOR = (6, 2)
"""The oldest Redis that is known to work."""
_SENTINEL = re.compile(r"rediss?\+sentinel")
_CERTIFICATES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
"""Shortest and longest pause before a retry, in seconds."""
_PATIENT, _HASTY = 5, 1
"""Most retries of a patient and of a hasty client."""


def open_redis(url: str, *, timeout: float, is_patient: bool, asynchronous: bool = False) -> Any:
    """Return a client with a pool of connections; nothing is sent yet.

    Args:
        url: `redis://`, `rediss://` (TLS) or `unix://`, with user and password if Redis requires them; or
            `redis+sentinel://host:26379,host:26379/<service>/<db>` for the primary that the Sentinels report.
        timeout: seconds to wait for a connection, and for an answer.
        is_patient: whether to retry several times, see `make_retry`.
        asynchronous: whether the client is for asyncio.

    Raises:
        SettingsError: the URL is invalid.
        EnvironmentSetupError: redis-py is not installed.
    """
    try:
        library: Any = import_module("redis.asyncio" if asynchronous else "redis")
    except ImportError as error:
        raise EnvironmentSetupError("The online store needs redis-py.", hint=installing("serving")) from error
    options = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": make_retry(is_patient=is_patient, asynchronous=asynchronous),
        "health_check_interval": 30,
    }
    try:
        if _SENTINEL.fullmatch(urlsplit(url).scheme):
            return _by_sentinel(library.Sentinel if not asynchronous else library.sentinel.Sentinel, url, options)
        return library.Redis.from_url(url, **options)
    except (ValueError, TypeError):
        raise SettingsError(
            f"The address of Redis, {redact_url(url)}, is invalid or has an unknown option.",
            hint="Use e.g. redis://:password@host:6379/0, rediss://host:6380, redis+sentinel://host:26379/mymaster/0; "
            "write /, # and @ in a password as %2F, %23 and %40.",
        ) from None


def _by_sentinel(kind: Any, url: str, options: dict[str, Any]) -> Any:
    parts = urlsplit(url)
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError("the name of the service is missing")
    unknown = sorted(set(parse_qs(parts.query)) - {*_CERTIFICATES, "db", "sentinel_username", "sentinel_password"})
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is not known")
    hosts = parts.netloc.rpartition("@")[2].split(",")
    sentinels = [(host, int(port or 26_379)) for host, _, port in (each.partition(":") for each in hosts)]
    known = {
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
        "ssl": parts.scheme.startswith("rediss"),
    }
    asked = parse_qs(parts.query)
    secure = {"ssl": True, **{name: asked[name][0] for name in _CERTIFICATES if name in asked}} if known["ssl"] else {}
    names = ("username", "password")
    sentinel = {name: asked[f"sentinel_{name}"][0] for name in names if f"sentinel_{name}" in asked}
    database = database or asked.get("db", [""])[0]
    manager = kind(sentinels, sentinel_kwargs={**options, **secure, **sentinel, "retry": None}, **options)
    given = {name: value for name, value in known.items() if value}
    return manager.master_for(
        service, db=int(database or 0), **given, **{k: v for k, v in secure.items() if k != "ssl"}
    )


def clients_of(client: Any) -> list[Any]:
    """All clients to close: the client itself, and the clients of its Sentinels."""
    sentinels = getattr(client.connection_pool, "sentinel_manager", None)
    return [client, *(sentinels.sentinels if sentinels else ())]


@contextmanager
def answered(where: str) -> Iterator[None]:
    """Translate exceptions that redis-py raises in the block into Asgard's errors.

    Args:
        where: the address, without its password.

    Raises:
        ServiceUnreachableError: Redis does not answer.
        ServiceError: Redis refuses: a wrong password, missing rights, read-only, full, a key of another type.
    """
    from redis import exceptions

    try:
        yield
    except exceptions.AuthenticationError as error:
        raise ServiceError(
            f"Redis at {where} refuses the user or the password.", hint="Correct them in REDIS_URL."
        ) from error
    except exceptions.BusyLoadingError as error:
        raise ServiceUnreachableError(
            f"Redis at {where} is still loading its data.", hint="Retry in a moment."
        ) from error
    except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
        raise _unreachable(where, error) from error
    except exceptions.ResponseError as error:
        raise _refused(where, error) from error
    except exceptions.RedisError as error:
        raise ServiceError(f"Redis at {where}: {error}", hint=_HINT) from error
    except OSError as error:
        raise _unreachable(where, error) from error


def _unreachable(where: str, error: Exception) -> ServiceUnreachableError:
    reason = str(error)
    if type(error).__name__ == "MasterNotFoundError":
        why = "ask for a password" if "AuthenticationError" in reason else "do not answer, or there is no such service"
        return ServiceUnreachableError(
            f"No primary was found at {where}: its Sentinels {why}.",
            hint="Use redis+sentinel://host:26379/<service>/<db>, with ?sentinel_password= if they have a password.",
        )
    if is_tls_refusal(error):
        hint = next((hint for mark, hint in _TLS if mark in reason.lower()), _TLS_HINT)
        return ServiceUnreachableError(f"Redis at {where} and this client can't agree on TLS: {reason}", hint=hint)
    if where.startswith("rediss:"):
        hint = _TLS_HINT
    else:
        hint = "`asgard status` shows the local services; a TLS port needs rediss://."
    return ServiceUnreachableError(f"Redis at {where} does not answer: {error}", hint=hint)


_TLS_HINT = "Does it speak TLS at that port? Does it require a client certificate (ssl_certfile, ssl_keyfile)?"
_TLS = (
    ("has expired", "Its certificate must be renewed."),
    ("mismatch", "Its certificate is for another host: use that host name in REDIS_URL."),
    (
        "verify failed",
        "Its certificate is not trusted: name its authority in REDIS_URL: rediss://...?ssl_ca_certs=/path/ca.pem.",
    ),
)
"""Parts of OpenSSL's messages, and the hint for each."""


def _refused(where: str, error: Exception) -> ServiceError:
    reason = str(error).rpartition("caused error: ")[2]
    kinds = {type(error).__name__, *(each.__name__ for each in type(error).__mro__)}
    for marks, what, hint in _REFUSALS:
        if any(mark in reason or mark in kinds for mark in marks):
            return ServiceError(f"Redis at {where} {what}", hint=hint)
    return ServiceError(f"Redis at {where} refuses: {reason}", hint=_HINT)


_HINT = "See the log of Redis; `asgard status` shows the local services."


_REFUSALS = (
    (("READONLY", "ReadOnlyError"), "is read-only: a replica.", "Use the primary, or redis+sentinel://."),
    (
        ("OOM", "OutOfMemoryError", "used memory"),
        "is full (maxmemory).",
        "Give it more memory; nothing was lost, and the next sync continues.",
    ),
    (("NOREPLICAS",), "has too few replicas to accept writes.", "Check its replicas and its min-replicas-to-write."),
    (("BUSY",), "runs a script that does not end.", "See its log; SCRIPT KILL stops a script that has not written."),
    (("DB index", "invalid DB"), "has no such database.", "Correct the database number at the end of REDIS_URL."),
    (("MISCONF",), "can't write to its disk.", "See its log; the disk may be full."),
    (
        ("NOPERM", "NoPermissionError", "The user executing the script"),
        "does not allow it.",
        "Its ACL must allow the keys and commands of the online store.",
    ),
    (("NOAUTH",), "asks for a password.", "Put it into REDIS_URL: redis://:password@host:6379/0."),
    (
        ("WRONGTYPE",),
        "has a key of another type under a name that the online store uses.",
        "Use another online_prefix.",
    ),
    (
        ("cluster", "CROSSSLOT", "ClusterCrossSlotError", "MovedError", "hash slot", "hash to the same slot"),
        "is a Redis Cluster.",
        "Use one primary, alone or behind Sentinels.",
    ),
)


def require_fit(client: Any, where: str) -> dict[str, str]:
    """Refuse a Redis that could lose data; returns the fields of INFO.

    Raises:
        ServiceError: Redis is a cluster or a replica, too old, or evicts keys that have no ttl.
        ServiceUnreachableError: Redis does not answer.
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
            f"Redis at {where} evicts any key (maxmemory-policy {policy}): lookups would miss entities.",
            hint="Set maxmemory-policy to noeviction or a volatile-* policy: the online store's keys have no ttl.",
        )
    return info


def make_retry(*, is_patient: bool, asynchronous: bool) -> Any:
    """Return redis-py's retry rule for one client.

    Args:
        is_patient: whether to retry several times, also after a timeout; otherwise retry once, and only after a lost
            connection, because a caller waits for the lookup.
        asynchronous: whether the client is for asyncio.
    """
    from redis.backoff import ExponentialWithJitterBackoff
    from redis.exceptions import BusyLoadingError, ConnectionError, TimeoutError

    kind = import_module("redis.asyncio.retry" if asynchronous else "redis.retry").Retry
    errors = (ConnectionError, BusyLoadingError, *((TimeoutError,) if is_patient else ()))
    backoff = ExponentialWithJitterBackoff(cap=_LONGEST_PAUSE, base=_FIRST_PAUSE)
    return (_asynchronous if asynchronous else _plain)(kind)(
        backoff, _PATIENT if is_patient else _HASTY, supported_errors=errors
    )


def _plain(kind: Any) -> Any:
    class Once(kind):  # type: ignore[misc]
        is_inside = False

        def call_with_retry(self, do: Callable[[], Any], fail: Any, *_: Any, **options: Any) -> Any:
            if self.is_inside:
                return do()
            self.is_inside = True
            try:
                return super().call_with_retry(do, fail, _may_pass, **options)
            finally:
                self.is_inside = False

    return Once


def _asynchronous(kind: Any) -> Any:
    class Once(kind):  # type: ignore[misc]
        is_inside = False

        async def call_with_retry(self, do: Callable[[], Any], fail: Any, *_: Any, **options: Any) -> Any:
            if self.is_inside:
                return await do()
            self.is_inside = True
            try:
                return await super().call_with_retry(do, fail, _may_pass, **options)
            finally:
                self.is_inside = False

    return Once


def _may_pass(error: Exception) -> bool:
    from redis.exceptions import AuthenticationError, AuthorizationError

    return not isinstance(error, AuthenticationError | AuthorizationError) and not is_tls_refusal(error)


def is_tls_refusal(error: BaseException) -> bool:
    """Whether TLS failed by a certificate or a protocol; a connection that merely ends does not count."""
    import ssl

    causes = (error, error.__cause__, error.__context__)
    is_of_tls = any(isinstance(each, ssl.SSLError) for each in causes) or "SSL:" in str(error)
    return is_of_tls and "EOF" not in str(error)
