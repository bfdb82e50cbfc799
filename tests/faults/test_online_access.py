"""Who may come in: TLS with certificates of all kinds, users and their rights; refused in words, nothing moved."""

import asyncio
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from tests.support.certificates import Authority, server_context
from tests.support.online import OnlineView
from tests.support.redis import LOOKUP_COMMANDS, SYNC_COMMANDS, redis_server
from tests.support.redis_proxy import RedisProxy

from asgard.common.errors import ServiceError, ServiceUnreachableError
from asgard.common.settings import load_settings
from asgard.serving import AsyncOnlineStore, OnlineStore


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@contextmanager
def tls(online: OnlineView, context: ssl.SSLContext) -> Iterator[str]:
    """The tests' Redis behind TLS: its address."""
    redis_url = online.lake.settings.redis_url
    assert redis_url is not None
    wrap = partial(context.wrap_socket, server_side=True)
    with RedisProxy(redis_url.reveal(), wrap).running() as proxy:
        yield f"rediss://:canary@127.0.0.1:{proxy.port}/0"


def use(online: OnlineView, url: str) -> None:
    online.use(load_settings({"project_dir": str(online.lake.settings.project_dir), "redis_url": url}))


def looked_up(online: OnlineView, url: str) -> list[float]:
    """Customer 2, by both clients."""
    found = [OnlineStore(url).lookup(online.view.name, {"customer_id": 2})["amount"]]

    async def look() -> None:
        client = AsyncOnlineStore(url)
        try:
            found.append((await client.lookup(online.view.name, {"customer_id": 2}))["amount"])
        finally:
            await client.close()

    asyncio.run(look())
    return found


def expect_refusal(online: OnlineView, url: str, words: str, hint: str = "") -> None:
    """Sync and lookups say so, soon, without the password."""
    use(online, url)
    for attempt in (online.sync, lambda: OnlineStore(url).lookup(online.view.name, {"customer_id": 2})):
        began = time.monotonic()
        with pytest.raises(ServiceError, match=words) as caught:
            attempt()
        assert hint in caught.value.hint
        assert "canary" not in f"{caught.value}{caught.value.hint}"
        assert time.monotonic() - began < 5

    async def look() -> None:
        client = AsyncOnlineStore(url)
        try:
            with pytest.raises(ServiceError, match=words) as caught:
                await client.lookup(online.view.name, {"customer_id": 2})
            assert hint in caught.value.hint
        finally:
            await client.close()

    asyncio.run(look())


def without_password(url: str) -> str:
    return url.replace(":canary@", "")


def test_a_trusted_certificate_serves_syncs_and_lookups(online: OnlineView, authority: Authority) -> None:
    with tls(online, server_context(authority.sign("server"))) as url:
        address = f"{without_password(url)}?ssl_ca_certs={authority.path}"
        online.append([(2, 1, 20.0, 20)])
        use(online, address)
        online.sync()
        online.expect_equal()
        assert looked_up(online, address) == [20.0, 20.0]


@pytest.mark.parametrize(
    ("host", "life", "trusted", "words", "hint"),
    [
        ("127.0.0.1", 1, False, "verify failed", "ssl_ca_certs"),
        ("10.0.0.1", 1, True, "mismatch", "another host"),
        ("127.0.0.1", -1, True, "expired", "renewed"),
    ],
)
def test_a_certificate_that_is_wrong_is_refused(
    online: OnlineView,
    authority: Authority,
    tmp_path: Path,
    host: str,
    life: int,
    trusted: bool,
    words: str,
    hint: str,
) -> None:
    before = online.store.synced(online.view.name).watermark
    online.append([(2, 1, 20.0, 20)])
    known = authority if trusted else Authority(tmp_path, "somebody")
    with tls(online, server_context(authority.sign("server", host=host, life=timedelta(days=life)))) as url:
        expect_refusal(online, f"{url}?ssl_ca_certs={known.path}", words, hint)
    use(online, str(online.lake.settings.redis_url.reveal()))  # type: ignore[union-attr]
    assert online.store.synced(online.view.name).watermark == before
    online.sync()
    online.expect_equal()


def test_a_client_without_its_certificate_is_told_so(online: OnlineView, authority: Authority) -> None:
    with tls(online, server_context(authority.sign("server"), clients=authority)) as url:
        expect_refusal(online, f"{url}?ssl_ca_certs={authority.path}", "TLS|does not answer", "ssl_certfile")
        certificate, key = authority.sign("client")
        address = f"{without_password(url)}?ssl_ca_certs={authority.path}&ssl_certfile={certificate}&ssl_keyfile={key}"
        assert looked_up(online, address) == [2.0, 2.0]


def test_tls_where_none_is_spoken_is_said(online: OnlineView, authority: Authority) -> None:
    redis_url = online.lake.settings.redis_url
    assert redis_url is not None
    with pytest.raises(ServiceUnreachableError) as caught:
        OnlineStore(redis_url.reveal().replace("redis://", "rediss://")).lookup(online.view.name, {"customer_id": 2})
    assert "speak TLS" in caught.value.hint
    with tls(online, server_context(authority.sign("server"))) as url:
        expect_refusal(online, url.replace("rediss:", "redis:"), "does not answer", "rediss://")


def test_a_user_needs_few_rights_and_each_that_lacks_is_said(
    online: OnlineView, tmp_path: Path, repository_root: Path
) -> None:
    documented = " ".join((repository_root / "docs" / "online.md").read_text().split())
    assert f"a sync: `{SYNC_COMMANDS}`" in documented
    assert f"lookups: `{LOOKUP_COMMANDS}`" in documented
    with redis_server(tmp_path) as url:
        use(online, url)
        admin = online.store.client

        def become(name: str, rights: str) -> str:
            admin.execute_command("ACL", "SETUSER", name, "reset", "on", ">canary", *rights.split())
            return url.replace("redis://", f"redis://{name}:canary@")

        writer = become("writer", f"~asgard:* {SYNC_COMMANDS}")
        use(online, writer)
        online.sync()
        online.append([(2, 1, 20.0, 20), (9, 1, 9.0, 9)])
        online.sync()
        online.replace([(2, 1, 20.0, 20)])
        online.sync()
        online.sync(full=True)
        online.expect_equal()
        assert looked_up(online, become("reader", f"~asgard:* {LOOKUP_COMMANDS}")) == [20.0, 20.0]

        before = online.store.synced(online.view.name).watermark
        online.append([(2, 2, 30.0, 30)])
        lacking = [f"~asgard:* {SYNC_COMMANDS} -{name}" for name in ("info", "evalsha", "mset", "hset", "script")]
        for rights in (*lacking, f"~other:* {SYNC_COMMANDS}"):
            use(online, become("poor", rights))
            with pytest.raises(ServiceError, match="does not allow") as caught:
                online.sync()
            assert "ACL" in caught.value.hint
            assert "canary" not in str(caught.value)
        poor = become("poor", f"~other:* {LOOKUP_COMMANDS}")
        with pytest.raises(ServiceError, match="does not allow"):
            OnlineStore(poor).lookup(online.view.name, {"customer_id": 2})
        expect_refusal(online, poor.replace("poor:canary", "poor:wrong-canary"), "user or the password")
        use(online, writer)
        assert online.store.synced(online.view.name).watermark == before
        online.sync()
        online.expect_equal()
        assert not isinstance(caught.value, ServiceUnreachableError)
