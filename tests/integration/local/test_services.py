"""The local services as `asgard up | down | status` keeps them: real processes in a folder of their own."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from tests.support.stopping import started
from typer.testing import CliRunner

from asgard.common.errors import EnvironmentSetupError, UsageError
from asgard.common.settings import Settings, load_settings
from asgard.local import commands
from asgard.local.services import services
from asgard.local.services.ports import HOST
from asgard.local.services.processes import is_locked, start_time
from asgard.local.services.service import ServiceFolder
from asgard.local.services.services import State
from asgard.local.services.starting import ServiceStartError

NAMES = ["nessie", "mlflow", "redis"]
UP = """
import json, sys
from asgard.common.settings import load_settings
from asgard.local.services import services
up = services.up(load_settings({"project_dir": sys.argv[1]}))
print(json.dumps({"started": up.started, "urls": dict(up.urls)}))
"""


def settings_for(folder: Path) -> Settings:
    return load_settings({"project_dir": str(folder)})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder whose services two processes started at once, both of which have ended since."""
    folder = tmp_path_factory.mktemp("services") / "project"
    starters = [
        subprocess.Popen([sys.executable, "-c", UP, str(folder)], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    answers = [json.loads(starter.communicate()[0]) for starter in starters]
    (folder / "answers.json").write_text(json.dumps(answers))
    yield folder
    services.down(settings_for(folder))


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Settings]:
    """A folder for one test, of which it starts Redis only (a tenth of a second)."""
    settings = settings_for(tmp_path / "project")
    yield settings
    services.down(settings)


def pids(folder: Path) -> dict[str, int]:
    content = json.loads((folder / "services.json").read_text())["services"]
    return {name: one["pid"] for name, one in content.items()}


def states(settings: Settings) -> dict[str, State]:
    return {one.name: one.state for one in services.status(settings)}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_up_that_is_stopped_leaves_nothing_running(number: signal.Signals, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    command = [sys.executable, "-m", "asgard.cli", "up", "--only", "nessie", "--only", "redis", "--dir", str(folder)]
    with started(command) as process:
        process.wait_for(lambda: "java" in process.left() and (folder / "redis" / "process.json").exists())
        code, said = process.stop(number)
        assert code == 128 + number
        assert said.splitlines()[-1].endswith(": nothing incomplete was published")
        assert "rror" not in said
        assert process.left() == []
    assert set(states(settings_for(folder)).values()) == {State.STOPPED}
    assert not (folder / "services.json").exists()
    services.up(settings_for(folder), only=["redis"])
    assert states(settings_for(folder))["redis"] is State.RUNNING
    services.down(settings_for(folder))


def test_two_starters_at_once_start_one_set(shared: Path) -> None:
    first, second = json.loads((shared / "answers.json").read_text())
    assert sorted(first["started"] + second["started"]) == sorted(NAMES)
    assert first["urls"] == second["urls"]


def test_up_again_finds_the_same_processes(shared: Path) -> None:
    before = pids(shared)
    said: list[str] = []
    again = services.up(settings_for(shared), say=said.append)
    assert again.started == ()
    assert pids(shared) == before
    assert said == ["Nessie: already running", "MLflow: already running", "Redis: already running"]


def test_settings_find_the_services(shared: Path) -> None:
    settings = load_settings({"project_dir": str(shared)}, environment={})
    content = json.loads((shared / "services.json").read_text())["services"]
    assert settings.nessie == content["nessie"]["url"]
    assert settings.mlflow_tracking_uri == content["mlflow"]["url"]
    assert settings.redis_url is not None
    assert settings.redis_url.reveal() == content["redis"]["url"]
    assert all(one["started"] == start_time(one["pid"]) for one in content.values())
    assert content["nessie"]["management_url"].startswith(f"http://{HOST}:")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_everything_listens_on_this_machine_only(shared: Path) -> None:
    addresses = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for fields in map(str.split, Path(table).read_text().splitlines()[1:]):
            if fields[3] == "0A":
                addresses[f"socket:[{fields[9]}]"] = fields[1].split(":")[0]
    for name, pid in pids(shared).items():
        files = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
        found = [addresses[file] for file in files if file in addresses]
        assert len(found) == (2 if name == "nessie" else 1)
        assert all(address.endswith("0100007F") for address in found), (name, found)


def test_a_running_service_is_not_moved_to_another_port(shared: Path) -> None:
    with pytest.raises(UsageError, match=r"Redis already runs on port \d+, but 7777 was requested"):
        services.up(settings_for(shared), ports={"redis": 7777})


def test_a_lost_services_file_is_made_again(shared: Path) -> None:
    before = (shared / "services.json").read_text()
    (shared / "services.json").write_text("{half")
    assert set(states(settings_for(shared)).values()) == {State.RUNNING}
    services.up(settings_for(shared))
    assert (shared / "services.json").read_text() == before


def test_a_copied_folder_does_not_claim_the_originals_services(shared: Path, own: Settings) -> None:
    place, copy = ServiceFolder(shared, "redis"), ServiceFolder(own.project_dir, "redis")
    copy.folder.mkdir(parents=True)
    copy.record.write_text(place.record.read_text())
    copy.lock.touch()
    assert states(own)["redis"] is State.STALE
    services.down(own)
    assert states(settings_for(shared))["redis"] is State.RUNNING


def test_the_command_line(shared: Path) -> None:
    app = typer.Typer()
    for command in (commands.up, commands.down, commands.status):
        app.command()(command)
    run = CliRunner().invoke
    shown = run(app, ["status", "--dir", str(shared)])
    assert [line.split()[:2] for line in shown.stdout.splitlines()[1:]] == [[name, "running"] for name in NAMES]
    parsed = json.loads(run(app, ["up", "--dir", str(shared), "--json"]).stdout)
    assert [one["state"] for one in parsed["services"]] == ["running"] * 3
    nothing = run(app, ["down", "--dir", str(shared / "nothing"), "--json"])
    assert json.loads(nothing.stdout)["stopped"] == []
    assert not (shared / "nothing").exists()
    elsewhere = ["status", "--dir", str(shared / "nothing"), "--set", "nessie_uri=http://127.0.0.1:9"]
    shown = run(app, elsewhere)
    assert (shown.exit_code, "http://127.0.0.1:9 does not answer" in shown.stdout) == (0, True)
    assert json.loads(run(app, [*elsewhere, "--json"]).stdout)["behind"] is None
    known = json.loads(run(app, ["status", "--dir", str(shared), "-p", "no_such_module", "--json"]).stdout)["behind"]
    assert known["older_views"] == {}
    assert known["remarks"][0].startswith("tables of no_such_module: ")


def test_down_leaves_nothing_running_and_up_comes_back_on_the_same_port(own: Settings) -> None:
    assert states(own) == dict.fromkeys(NAMES, State.STOPPED)
    assert not own.project_dir.exists()
    first = services.up(own, only=["redis"])
    pid = pids(own.project_dir)["redis"]
    assert services.down(own) == ["redis"]
    assert start_time(pid) is None
    assert not is_locked(ServiceFolder(own.project_dir, "redis").lock)
    assert not (own.project_dir / "services.json").exists()
    assert states(own)["redis"] is State.STOPPED
    second = services.up(own, only=["redis"])
    assert second.urls == first.urls
    assert (own.project_dir / "logs" / "redis.log.1").exists()


def test_a_taken_port_that_was_asked_for(own: Settings) -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(EnvironmentSetupError, match=f"Port {port} for Redis is taken") as caught:
            services.up(own, ports={"redis": port})
        if sys.platform == "linux":
            assert f"by process {os.getpid()}" in caught.value.message
        assert "--redis-port" in caught.value.hint
    assert states(own) == dict.fromkeys(NAMES, State.STOPPED)


def test_an_asked_port_is_used(own: Settings) -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
    assert services.up(own, only=["redis"], ports={"redis": port}).urls["redis"] == f"redis://{HOST}:{port}/0"


def test_a_remembered_port_that_is_taken_now_gives_another(own: Settings) -> None:
    first = services.up(own, only=["redis"]).urls["redis"]
    services.down(own)
    with socket.create_server((HOST, int(first.rpartition(":")[2].split("/")[0]))):
        second = services.up(own, only=["redis"]).urls["redis"]
    assert second != first


def test_only_what_is_installed_is_started(own: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tuple(
        replace(service, is_installed=lambda name=service.name: name == "redis") for service in services.SERVICES
    )
    monkeypatch.setattr(services, "SERVICES", installed)
    assert list(services.up(own).urls) == ["redis"]
    assert states(own) == {"redis": State.RUNNING}
    with pytest.raises(UsageError, match="MLflow was requested") as caught:
        services.up(own, only=["mlflow"])
    assert "extra model" in caught.value.hint


def test_an_unknown_name(own: Settings) -> None:
    with pytest.raises(UsageError, match="'postgres' is not a local service"):
        services.up(own, only=["postgres"])


def test_a_service_that_ends_while_starting_shows_its_log(own: Settings) -> None:
    place = ServiceFolder(own.project_dir, "redis")
    place.folder.mkdir(parents=True)
    (place.folder / "appendonly.aof").write_text("this is no log of commands\n")
    with pytest.raises(ServiceStartError, match=r"Redis ended while starting\. The last lines of its log:\n") as caught:
        services.up(own, only=["redis"])
    assert "append only file" in caught.value.message
    assert str(place.log.resolve()) in caught.value.hint
    assert states(own)["redis"] is State.STOPPED


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentSetupError, match="can't be written"):
        services.up(settings_for(tmp_path / "file" / "project"))
