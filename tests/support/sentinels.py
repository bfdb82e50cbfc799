"""A Redis with a replica and three Sentinels, started by a test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from redis import Redis
from tests.support.redis import RedisProcess, redis_process, sentinel
from tests.support.waiting import wait_until

SERVICE = "asgardian"
PASSWORD = "canary"


class Sentinels:
    """The two servers, and the Sentinels that watch them.

    Attributes:
        primary, replica: the servers with these roles at the start.
        url: the address, in the form of REDIS_URL.
    """

    def __init__(self, primary: RedisProcess, replica: RedisProcess, ports: list[int]) -> None:
        self.primary, self.replica, self._ports = primary, replica, ports
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        self.url = f"redis+sentinel://:{PASSWORD}@{hosts}/{SERVICE}/0?sentinel_password={PASSWORD}"

    def is_primary(self, process: RedisProcess) -> bool:
        """Whether each Sentinel and the server itself report it as the primary."""
        states = [self._with(port, lambda client: client.sentinel_master(SERVICE)) for port in self._ports]
        role = self._with(process.port, lambda client: client.info("replication")["role"])
        known = all(state["port"] == process.port and not state["is_sdown"] for state in states)
        return bool(known) and role == "master"

    def are_ready(self) -> bool:
        """Whether every Sentinel knows the others and the replica, and the replica is in sync."""
        states = [self._with(port, lambda client: client.sentinel_master(SERVICE)) for port in self._ports]
        known = all((state["num-other-sentinels"], state["num-slaves"]) == (2, 1) for state in states)
        replica = self._with(self.replica.port, lambda client: client.info("replication"))
        return known and replica.get("master_link_status") == "up"

    def _with(self, port: int, ask: Callable[["Redis"], Any]) -> Any:
        with Redis(port=port, password=PASSWORD) as client:
            return ask(client)


@contextmanager
def sentinels(folder: Path) -> Iterator[Sentinels]:
    """Run all servers for a block; a primary that does not answer for a second is replaced."""
    secret = {"requirepass": PASSWORD, "masterauth": PASSWORD}
    folders = [folder / name for name in ("one", "other", "s1", "s2", "s3")]
    for each in folders:
        each.mkdir()
    with ExitStack() as stack:
        primary = stack.enter_context(redis_process(folders[0], **secret))
        replica = stack.enter_context(
            redis_process(folders[1], **secret, repl_diskless_sync_delay="0", replicaof=f"127.0.0.1 {primary.port}")
        )
        lines = (
            f"requirepass {PASSWORD}",
            f"sentinel sentinel-pass {PASSWORD}",
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary.port} 2",
            f"sentinel auth-pass {SERVICE} {PASSWORD}",
            f"sentinel down-after-milliseconds {SERVICE} 1000",
            f"sentinel failover-timeout {SERVICE} 2000",
        )
        found = Sentinels(primary, replica, [stack.enter_context(sentinel(each, *lines)) for each in folders[2:]])
        wait_until(found.are_ready, "the Sentinels know each other")
        yield found
