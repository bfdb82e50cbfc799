"""When Redis is asked again: after a lost connection, with growing pauses drawn at random; never after a refusal.

redis-py asks again at several layers, each inside the other: to find the primary, to connect, to send. Here the
outermost alone does, or the tries would multiply. A user, a password or a certificate that is not accepted is not
accepted a moment later either.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
_PATIENT, _HASTY = 5, 1
"""How often at most."""


def make_retry(*, is_patient: bool, asynchronous: bool) -> Any:
    """redis-py's rule for one client.

    Args:
        is_patient: whether to ask several times, and also after an answer that did not come in time; else once, and
            only after a lost connection: somebody waits.
        asynchronous: for asyncio.
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
    """Whether the two sides can't agree on TLS: a certificate, a protocol. A connection that just ends is none."""
    import ssl

    causes = (error, error.__cause__, error.__context__)
    said = any(isinstance(each, ssl.SSLError) for each in causes) or "SSL:" in str(error)
    return said and "EOF" not in str(error)
