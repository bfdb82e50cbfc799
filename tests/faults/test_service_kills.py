"""Local services that are killed, hung, orphaned or mistaken for others: `up` puts it right and loses nothing."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import urllib3

from asgard.common.settings import Settings, load_settings
from asgard.local.services import services, starting
from asgard.local.services.processes import is_locked, lock_holders, start_time, wait_for
from asgard.local.services.service import Record, ServiceFolder, read_record, write_record
from asgard.local.services.services import Services, State

ALL = ("nessie", "mlflow", "redis")
UP = "import sys; from asgard.common.settings import load_settings; from asgard.local.services import services; \
services.up(load_settings({'project_dir': sys.argv[1]}), only=sys.argv[2:] or None)"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    settings = load_settings({"project_dir": str(tmp_path_factory.mktemp("kills") / "project")})
    yield settings
    services.down(settings)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Settings]:
    settings = load_settings({"project_dir": str(tmp_path / "project")})
    yield settings
    services.down(settings)


def record(settings: Settings, name: str) -> Record:
    found = read_record(ServiceFolder(settings.project_dir, name))
    assert found is not None
    return found


def pid(settings: Settings, name: str) -> int:
    found = record(settings, name).pid
    assert found is not None
    return found


def kill(settings: Settings, name: str) -> None:
    os.kill(pid(settings, name), signal.SIGKILL)
    assert wait_for(lambda: not is_locked(ServiceFolder(settings.project_dir, name).lock), 10)


def state(settings: Settings, name: str) -> State:
    return next(one.state for one in services.status(settings) if one.name == name)


def set_key(up: Services, key: str, value: str) -> None:
    with redis.Redis.from_url(up.urls["redis"]) as client:
        client.set(key, value)


def get_key(up: Services, key: str) -> bytes | None:
    with redis.Redis.from_url(up.urls["redis"]) as client:
        found = client.get(key)
    assert found is None or isinstance(found, bytes)
    return found


def branches(http: urllib3.PoolManager, up: Services) -> set[str]:
    answer = http.request("GET", f"{up.urls['nessie']}/api/v2/trees").json()
    return {one["name"] for one in answer["references"]}


def experiments(http: urllib3.PoolManager, up: Services) -> set[str]:
    url = f"{up.urls['mlflow']}/api/2.0/mlflow/experiments/search?max_results=100"
    return {one["name"] for one in http.request("GET", url).json()["experiments"]}


def test_kill_9_of_all_then_up_loses_nothing(shared: Settings) -> None:
    up = services.up(shared)
    with urllib3.PoolManager() as http:
        main = http.request("GET", f"{up.urls['nessie']}/api/v2/trees/main").json()["reference"]
        made = http.request("POST", f"{up.urls['nessie']}/api/v2/trees?name=kept&type=BRANCH", json=main)
        assert made.status == 200
        url = f"{up.urls['mlflow']}/api/2.0/mlflow/experiments/create"
        assert http.request("POST", url, json={"name": "kept"}).status == 200
        set_key(up, "kept", "yes")
        before = {name: pid(shared, name) for name in ALL}
        for name in ALL:
            kill(shared, name)
        assert {one.state for one in services.status(shared)} == {State.STALE}

        again = services.up(shared)
        assert again.urls == up.urls
        assert sorted(again.started) == sorted(ALL)
        assert all(pid(shared, name) != before[name] for name in ALL)
        assert "kept" in branches(http, again)
        assert "kept" in experiments(http, again)
        assert get_key(again, "kept") == b"yes"


def test_one_killed_is_started_again_beside_the_others(shared: Settings) -> None:
    up = services.up(shared)
    before = {name: pid(shared, name) for name in ALL}
    set_key(up, "beside", "yes")
    kill(shared, "redis")
    again = services.up(shared)
    assert again.started == ("redis",)
    assert {name for name in ALL if pid(shared, name) == before[name]} == {"nessie", "mlflow"}
    assert get_key(again, "beside") == b"yes"


def test_an_up_that_is_killed_leaves_a_service_that_the_next_finds(own: Settings) -> None:
    place = ServiceFolder(own.project_dir, "nessie")
    with subprocess.Popen([sys.executable, "-c", UP, str(own.project_dir), "nessie"]) as starter:
        assert wait_for(lambda: read_record(place) is not None, 30)
        starter.kill()
    left = pid(own, "nessie")
    assert not (own.project_dir / "services.json").exists()
    up = services.up(own, only=["nessie"])
    assert up.started == ()
    assert pid(own, "nessie") == left
    assert len(lock_holders(place.lock)) == 1


@pytest.mark.parametrize("lost", ["missing", "damaged", "other"])
def test_a_process_without_its_record_is_replaced_and_loses_nothing(own: Settings, lost: str) -> None:
    up = services.up(own, only=["redis"])
    set_key(up, "kept", "yes")
    place = ServiceFolder(own.project_dir, "redis")
    old = pid(own, "redis")
    if lost == "missing":
        place.record.unlink()
    elif lost == "damaged":
        place.record.write_text('{"pid": ')
    else:
        write_record(place, Record(os.getpid(), start_time(os.getpid()), record(own, "redis").ports))
    assert state(own, "redis") is State.UNHEALTHY
    said: list[str] = []
    again = services.up(own, only=["redis"], say=said.append)
    assert again.started == ("redis",)
    assert start_time(old) is None
    assert f"Redis: ending process {old}, which has no record" in said
    assert get_key(again, "kept") == b"yes"


def test_a_process_without_its_record_is_stopped_by_down(own: Settings) -> None:
    services.up(own, only=["redis"])
    old = pid(own, "redis")
    ServiceFolder(own.project_dir, "redis").record.unlink()
    assert services.down(own) == ["redis"]
    assert start_time(old) is None


@pytest.mark.parametrize("same_start", [True, False])
def test_a_reused_process_id_is_not_taken_for_the_service(own: Settings, same_start: bool) -> None:
    services.up(own, only=["redis"])
    old = record(own, "redis")
    kill(own, "redis")
    with subprocess.Popen([sys.executable, "-c", "input()", "redis-server"], stdin=subprocess.PIPE) as stranger:
        started = start_time(stranger.pid) if same_start else old.started
        write_record(ServiceFolder(own.project_dir, "redis"), Record(stranger.pid, started, old.ports))
        assert state(own, "redis") is State.STALE
        assert services.down(own) == []
        write_record(ServiceFolder(own.project_dir, "redis"), Record(stranger.pid, started, old.ports))
        assert services.up(own, only=["redis"]).started == ("redis",)
        assert stranger.poll() is None
        stranger.communicate(b"\n")
    assert stranger.returncode == 0


def test_a_hung_service_is_seen_and_replaced(own: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "HUNG_SECONDS", 0.5)
    monkeypatch.setattr(starting, "START_SECONDS", 0.5)
    monkeypatch.setattr(starting, "STOP_SECONDS", 0.5)
    up = services.up(own, only=["redis"])
    set_key(up, "kept", "yes")
    old = pid(own, "redis")
    os.kill(old, signal.SIGSTOP)
    assert state(own, "redis") is State.UNHEALTHY
    again = services.up(own, only=["redis"])
    assert start_time(old) is None
    assert again.urls == up.urls
    assert get_key(again, "kept") == b"yes"


def test_a_service_that_ignores_the_stop_is_killed(own: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "STOP_SECONDS", 0.5)
    services.up(own, only=["redis"])
    old = pid(own, "redis")
    os.kill(old, signal.SIGSTOP)
    said: list[str] = []
    assert services.down(own, say=said.append) == ["redis"]
    assert start_time(old) is None
    assert "killed" in said[0]


def test_a_half_written_redis_command_is_cut_off(own: Settings) -> None:
    up = services.up(own, only=["redis"])
    set_key(up, "kept", "yes")
    kill(own, "redis")
    folder = ServiceFolder(own.project_dir, "redis").folder
    logs = [*folder.glob("appendonly.aof"), *folder.glob("appendonlydir/*.incr.aof")]
    with logs[-1].open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nhal")
    assert get_key(services.up(own, only=["redis"]), "kept") == b"yes"


def test_the_services_file_never_shows_half(own: Settings) -> None:
    services.up(own, only=["redis"])
    assert not list(own.project_dir.glob("*.new"))
    assert set(json.loads((own.project_dir / "services.json").read_text())["services"]) == {"redis"}
