import hashlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from asgard.common import ivy, jars
from asgard.common.errors import EnvironmentSetupError
from asgard.common.ivy import Artifact, JarDownloadError
from asgard.common.jars import Jar, JarChecksumError, JarSet, ensure_jars
from asgard.common.settings import Settings, load_settings

CONTENT = b"the jar"
JAR = Jar(Artifact("org.example", "thing", "1.0", "runner"), JarSet.NESSIE, hashlib.sha256(CONTENT).hexdigest(), 1)
REFUSED = "SERVER ERROR: Bad Gateway url=https://repository.example/thing-1.0.jar"

# In the place of `java -jar ivy.jar ...`: each call does what its line of `plan` says, the last line for ever.
FAKE_JAVA = f"""#!/bin/sh
here=$(dirname "$0")/..
echo "$*" >> "$here/calls"
number=$(wc -l < "$here/calls")
while [ $# -gt 0 ]; do
  if [ "$1" = -retrieve ]; then out=$(dirname "$2"); fi
  shift
done
case $( (head -n "$number" | tail -n 1) < "$here/plan") in
  good) mkdir -p "$out"; printf '%s' '{CONTENT.decode()}' > "$out/thing.jar" ;;
  other) mkdir -p "$out"; printf 'another jar' > "$out/thing.jar" ;;
  hang) echo > "$here/hanging"; read -r line < "$here/release_me" ;;
  *) echo "{REFUSED}"; exit 1 ;;
esac
"""


class FakeIvy:
    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "bin").mkdir(parents=True)
        (home / "release").write_text('JAVA_VERSION="17.0.1"\nMODULES="jdk.incubator.vector"\n')
        (home / "bin" / "java").write_text(FAKE_JAVA)
        (home / "bin" / "java").chmod(0o755)

    def plan(self, *steps: str) -> None:
        (self.home / "plan").write_text("".join(f"{step}\n" for step in steps))

    def calls(self) -> int:
        path = self.home / "calls"
        return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def fake_ivy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeIvy:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jars, "JARS", (JAR,))
    monkeypatch.setattr(jars, "BACKOFF_SECONDS", 0.0)
    return FakeIvy(tmp_path / "jdk")


@pytest.fixture
def settings(fake_ivy: FakeIvy, tmp_path: Path) -> Settings:
    return load_settings({"java_home": str(fake_ivy.home), "cache_dir": str(tmp_path / "cache")}, environment={})


def cached(settings: Settings) -> Path:
    return settings.cache_dir / "jars" / "thing-1.0-runner.jar"


def test_fetched_once_then_found(fake_ivy: FakeIvy, settings: Settings) -> None:
    fake_ivy.plan("good")
    said: list[str] = []
    assert ensure_jars(JarSet.NESSIE, settings=settings, say=said.append) == [cached(settings)]
    assert cached(settings).read_bytes() == CONTENT
    assert said[0] == "fetching org.example:thing:1.0:runner (1 MB)"
    assert ensure_jars(JarSet.NESSIE, settings=settings) == [cached(settings)]
    assert fake_ivy.calls() == 1
    assert not list(cached(settings).parent.glob(".fetch-*"))


def test_other_purposes_fetch_nothing(fake_ivy: FakeIvy, settings: Settings) -> None:
    fake_ivy.plan("good")
    assert ensure_jars(JarSet.SPARK, JarSet.JDBC, settings=settings) == []
    assert fake_ivy.calls() == 0


def test_a_wrong_checksum_is_an_error_and_leaves_nothing(fake_ivy: FakeIvy, settings: Settings) -> None:
    fake_ivy.plan("other")
    with pytest.raises(JarChecksumError) as caught:
        ensure_jars(JarSet.NESSIE, settings=settings)
    assert hashlib.sha256(b"another jar").hexdigest() in caught.value.message
    assert JAR.sha256 in caught.value.message
    assert fake_ivy.calls() == 1
    assert not cached(settings).exists()


def test_a_failed_download_is_tried_again(fake_ivy: FakeIvy, settings: Settings) -> None:
    fake_ivy.plan("bad", "bad", "good")
    said: list[str] = []
    ensure_jars(JarSet.NESSIE, settings=settings, say=said.append)
    assert fake_ivy.calls() == 3
    assert any("Bad Gateway" in line and "try 1 of 3" in line for line in said)


def test_the_last_failure_names_artifact_and_reason(fake_ivy: FakeIvy, settings: Settings) -> None:
    fake_ivy.plan("bad")
    with pytest.raises(JarDownloadError) as caught:
        ensure_jars(JarSet.NESSIE, settings=settings)
    assert fake_ivy.calls() == jars.TRIES
    assert caught.value.message == f"org.example:thing:1.0:runner could not be fetched: {REFUSED}."
    assert "ASGARD_TRUST_STORE" in caught.value.hint
    assert str(cached(settings)) in caught.value.hint


@pytest.mark.parametrize(
    ("log", "telling"),
    [
        (
            "\tdownload failed: x\nx.ValidatorException: PKIX path building failed: unable to find\n",
            "PKIX path building failed",
        ),
        (":: problems ::\n\tHost repository.example not found. url=https://x\n", "Host repository.example not found"),
        ("java.net.ConnectException: Connection refused\n", "Connection refused"),
        (":: unresolved dependency: org.example#thing;1.0: not found\n", "unresolved dependency"),
        ("java.io.IOException: No space left on device\n", "No space left on device"),
        ("something odd\n", "its last line is: something odd"),
        ("", "Ivy gave no reason"),
    ],
)
def test_the_reason_is_the_most_telling_line(log: str, telling: str) -> None:
    assert telling in ivy.reason(log)


def test_a_jar_put_there_by_hand_is_taken(fake_ivy: FakeIvy, settings: Settings) -> None:
    cached(settings).parent.mkdir(parents=True)
    cached(settings).write_bytes(CONTENT)
    assert ensure_jars(JarSet.NESSIE, settings=settings) == [cached(settings)]
    assert fake_ivy.calls() == 0


def test_a_damaged_jar_is_fetched_again(fake_ivy: FakeIvy, settings: Settings) -> None:
    fake_ivy.plan("good")
    ensure_jars(JarSet.NESSIE, settings=settings)
    cached(settings).write_bytes(CONTENT[:-1])
    said: list[str] = []
    ensure_jars(JarSet.NESSIE, settings=settings, say=said.append)
    assert cached(settings).read_bytes() == CONTENT
    assert "is not the pinned jar" in said[0]


def test_a_new_pin_is_not_taken_for_the_old_jar(
    fake_ivy: FakeIvy, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_ivy.plan("good", "other")
    ensure_jars(JarSet.NESSIE, settings=settings)
    pinned = Jar(JAR.artifact, JAR.purpose, hashlib.sha256(b"another jar").hexdigest(), 1)
    monkeypatch.setattr(jars, "JARS", (pinned,))
    ensure_jars(JarSet.NESSIE, settings=settings)
    assert cached(settings).read_bytes() == b"another jar"


def test_two_at_once_fetch_once(fake_ivy: FakeIvy, settings: Settings) -> None:
    fake_ivy.plan("good")
    both = threading.Barrier(2)
    found: list[list[Path]] = []

    def fetch() -> None:
        both.wait()
        found.append(ensure_jars(JarSet.NESSIE, settings=settings))

    threads = [threading.Thread(target=fetch) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[cached(settings)]] * 2
    assert fake_ivy.calls() == 1


def test_a_killed_fetcher_leaves_no_lock_and_no_rubbish(fake_ivy: FakeIvy, settings: Settings) -> None:
    fake_ivy.plan("hang", "good")
    os.mkfifo(fake_ivy.home / "release_me")
    os.mkfifo(fake_ivy.home / "hanging")
    code = (
        "import sys; from asgard.common import jars; from asgard.common.ivy import Artifact\n"
        "from asgard.common.settings import load_settings\n"
        f"jars.JARS = (jars.Jar({JAR.artifact!r}, jars.JarSet.NESSIE, {JAR.sha256!r}, 1),)\n"
        "settings = load_settings({'java_home': sys.argv[1], 'cache_dir': sys.argv[2]}, environment={})\n"
        "jars.ensure_jars(jars.JarSet.NESSIE, settings=settings)\n"
    )
    command = [sys.executable, "-c", code, str(fake_ivy.home), str(settings.cache_dir)]
    with subprocess.Popen(command) as fetcher:
        (fake_ivy.home / "hanging").read_text()  # returns when the fake Ivy hangs
        fetcher.send_signal(signal.SIGKILL)
    (fake_ivy.home / "release_me").write_text("\n")  # lets the orphan end
    assert list(cached(settings).parent.glob(".fetch-*"))
    ensure_jars(JarSet.NESSIE, settings=settings)
    assert cached(settings).read_bytes() == CONTENT
    assert not list(cached(settings).parent.glob(".fetch-*"))


def test_a_cache_that_cannot_be_written(fake_ivy: FakeIvy, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = load_settings({"cache_dir": str(tmp_path / "file")}, environment={})
    with pytest.raises(EnvironmentSetupError, match="can't be written") as caught:
        ensure_jars(JarSet.NESSIE, settings=settings)
    assert "ASGARD_CACHE_DIR" in caught.value.hint


def test_the_pins_are_whole() -> None:
    assert {jar.purpose for jar in jars.JARS} == set(JarSet)
    assert all(len(jar.sha256) == 64 and jar.megabytes > 0 for jar in jars.JARS)
    assert len({jar.file_name for jar in jars.JARS}) == len(jars.JARS)
