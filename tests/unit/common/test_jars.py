"""Jars come from a real HTTP server of the test's own, into a cache of the test's own."""

import base64
import errno
import hashlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.certificates import Authority, server_context
from tests.support.repository import (
    MavenRepository,
    broken_off,
    elsewhere,
    ranged,
    refused,
    stalled,
    whole,
)

from asgard.common import http_access, jars, maven
from asgard.common.errors import AsgardError, EnvironmentSetupError
from asgard.common.jars import Jar, JarChecksumError, JarSet, ensure_jars
from asgard.common.java import Purpose, find_java
from asgard.common.maven import Artifact, JarDownloadError, repository_address
from asgard.common.settings import Settings, load_settings

CONTENT = bytes(range(256)) * 4_096
OTHER = b"another jar"
JAR = Jar(
    Artifact("org.example.things", "thing", "1.0", "runner"), JarSet.NESSIE, hashlib.sha256(CONTENT).hexdigest(), 1
)
PATH = "/org/example/things/thing/1.0/thing-1.0-runner.jar"


@pytest.fixture(autouse=True)
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pinned jar, no pauses, and no proxy but a test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jars, "JARS", (JAR,))
    monkeypatch.setattr(maven, "BACKOFF_SECONDS", 0.0)
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def repository() -> Iterator[MavenRepository]:
    with MavenRepository().running() as found:
        yield found


def settings_of(address: str, folder: Path, **flags: str) -> Settings:
    flags = {"maven_repository": address, "cache_dir": str(folder / "cache"), **flags}
    return load_settings(flags, environment={})


@pytest.fixture
def settings(repository: MavenRepository, tmp_path: Path) -> Settings:
    return settings_of(repository.address, tmp_path)


def cached(settings: Settings) -> Path:
    return settings.cache_dir / "jars" / "thing-1.0-runner.jar"


def part(settings: Settings) -> Path:
    return cached(settings).with_name("thing-1.0-runner.jar.part")


def begin(settings: Settings, content: bytes) -> None:
    """What a fetch left that was interrupted."""
    part(settings).parent.mkdir(parents=True)
    part(settings).write_bytes(content)


def test_fetched_once_then_found(repository: MavenRepository, settings: Settings) -> None:
    repository.plan = [ranged(CONTENT)]
    said: list[str] = []
    assert ensure_jars(JarSet.NESSIE, settings=settings, say=said.append) == [cached(settings)]
    assert cached(settings).read_bytes() == CONTENT
    assert said[0] == "fetching org.example.things:thing:1.0:runner (1 MB)"
    assert ensure_jars(JarSet.NESSIE, settings=settings) == [cached(settings)]
    assert [(request.target, request.begin) for request in repository.requests] == [(PATH, None)]
    assert not part(settings).exists()


def test_a_filled_cache_needs_no_network(repository: MavenRepository, settings: Settings, tmp_path: Path) -> None:
    repository.plan = [ranged(CONTENT)]
    ensure_jars(JarSet.NESSIE, settings=settings)
    offline = settings_of("http://127.0.0.1:1", tmp_path)
    assert ensure_jars(JarSet.NESSIE, settings=offline) == [cached(settings)]
    assert len(repository.requests) == 1


def test_other_purposes_fetch_nothing(repository: MavenRepository, settings: Settings) -> None:
    assert ensure_jars(JarSet.SPARK, JarSet.JDBC, settings=settings) == []
    assert repository.requests == []


def test_a_wrong_checksum_is_an_error_and_leaves_nothing(repository: MavenRepository, settings: Settings) -> None:
    repository.plan = [whole(OTHER)]
    with pytest.raises(JarChecksumError) as caught:
        ensure_jars(JarSet.NESSIE, settings=settings)
    assert hashlib.sha256(OTHER).hexdigest() in caught.value.message
    assert JAR.sha256 in caught.value.message
    assert len(repository.requests) == 1
    assert not cached(settings).exists()
    assert not part(settings).exists()


def test_a_broken_connection_is_continued(repository: MavenRepository, settings: Settings) -> None:
    repository.plan = [broken_off(CONTENT, 700_000), ranged(CONTENT)]
    said: list[str] = []
    ensure_jars(JarSet.NESSIE, settings=settings, say=said.append)
    assert cached(settings).read_bytes() == CONTENT
    assert [request.begin for request in repository.requests] == [None, 700_000]
    assert any("the connection broke. Trying again in 0 s (try 1 of 3)" in line for line in said)


def test_what_an_earlier_command_left_is_continued(repository: MavenRepository, settings: Settings) -> None:
    repository.plan = [broken_off(CONTENT, 300_000), refused(503)]
    with pytest.raises(JarDownloadError, match="the answer is 503 Service Unavailable"):
        ensure_jars(JarSet.NESSIE, settings=settings)
    repository.plan = [ranged(CONTENT)]
    ensure_jars(JarSet.NESSIE, settings=settings)
    assert cached(settings).read_bytes() == CONTENT
    assert [request.begin for request in repository.requests] == [None, 300_000, 300_000, 300_000]


def test_a_server_that_ignores_ranges_sends_the_whole(repository: MavenRepository, settings: Settings) -> None:
    repository.plan = [broken_off(CONTENT, 300_000), whole(CONTENT)]
    ensure_jars(JarSet.NESSIE, settings=settings)
    assert cached(settings).read_bytes() == CONTENT
    assert [request.begin for request in repository.requests] == [None, 300_000]


def test_a_server_that_sends_another_range_is_asked_for_the_whole(
    repository: MavenRepository, settings: Settings
) -> None:
    begin(settings, CONTENT[:9])
    repository.plan = [lambda request: request.send(206, CONTENT[8:], content_range="bytes 8-9/10"), ranged(CONTENT)]
    ensure_jars(JarSet.NESSIE, settings=settings)
    assert [request.begin for request in repository.requests] == [9, None]
    assert cached(settings).read_bytes() == CONTENT


def test_a_whole_part_is_taken_as_it_is(repository: MavenRepository, settings: Settings) -> None:
    begin(settings, CONTENT)
    assert ensure_jars(JarSet.NESSIE, settings=settings) == [cached(settings)]
    assert cached(settings).read_bytes() == CONTENT
    assert repository.requests == []


@pytest.mark.parametrize(("left", "begins"), [(OTHER, [len(OTHER), None]), (CONTENT + b"!", [len(CONTENT) + 1, None])])
def test_a_part_of_something_else_is_thrown_away(
    repository: MavenRepository, settings: Settings, left: bytes, begins: list[int | None]
) -> None:
    begin(settings, left)
    repository.plan = [ranged(CONTENT)]
    ensure_jars(JarSet.NESSIE, settings=settings)
    assert cached(settings).read_bytes() == CONTENT
    assert [request.begin for request in repository.requests] == begins


def test_a_server_in_trouble_is_tried_again(repository: MavenRepository, settings: Settings) -> None:
    repository.plan = [refused(502), refused(429), ranged(CONTENT)]
    said: list[str] = []
    ensure_jars(JarSet.NESSIE, settings=settings, say=said.append)
    assert cached(settings).read_bytes() == CONTENT
    assert [line.partition("could not be fetched: ")[2] for line in said[1:3]] == [
        f"{repository.address}{PATH}: the answer is 502 Bad Gateway. Trying again in 0 s (try 1 of 3).",
        f"{repository.address}{PATH}: the answer is 429 Too Many Requests. Trying again in 0 s (try 2 of 3).",
    ]


def test_the_last_failure_names_artifact_and_reason(repository: MavenRepository, settings: Settings) -> None:
    repository.plan = [refused(502)]
    with pytest.raises(JarDownloadError) as caught:
        ensure_jars(JarSet.NESSIE, settings=settings)
    assert len(repository.requests) == maven.TRIES
    assert caught.value.message == (
        f"{JAR.artifact} could not be fetched: {repository.address}{PATH}: the answer is 502 Bad Gateway."
    )
    assert "ASGARD_TRUST_STORE" in caught.value.hint
    assert str(cached(settings)) in caught.value.hint


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (401, "Set the user and the password in ASGARD_MAVEN_REPOSITORY"),
        (403, "Set the user and the password in ASGARD_MAVEN_REPOSITORY"),
        (404, "Set ASGARD_MAVEN_REPOSITORY to the address of a repository that has it; or put the file"),
    ],
)
def test_what_a_repository_does_not_give_is_asked_for_once(
    repository: MavenRepository, settings: Settings, status: int, hint: str
) -> None:
    repository.plan = [refused(status)]
    with pytest.raises(JarDownloadError, match=f"the answer is {status}") as caught:
        ensure_jars(JarSet.NESSIE, settings=settings)
    assert len(repository.requests) == 1
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize("password", ["pa/ss", "pa#ss", "pa?ss"])
def test_a_password_that_is_not_escaped_is_not_shown(settings: Settings, password: str) -> None:
    address, said = f"https://ci:{password}@repository.example/maven", []
    with pytest.raises(AsgardError) as caught:
        ensure_jars(JarSet.NESSIE, settings=replace(settings, maven_repository=address), say=said.append)
    assert "ss@" not in "\n".join([str(caught.value), caught.value.hint, *said])


def test_a_refused_connection(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    said: list[str] = []
    with pytest.raises(JarDownloadError, match="Connection refused") as caught:
        ensure_jars(JarSet.NESSIE, settings=settings_of(f"http://127.0.0.1:{port}", tmp_path), say=said.append)
    assert "HTTPS_PROXY" in caught.value.hint
    assert sum("Trying again" in line for line in said) == maven.TRIES - 1


def test_an_unknown_host(tmp_path: Path) -> None:
    with pytest.raises(JarDownloadError, match="its host is not known"):
        ensure_jars(JarSet.NESSIE, settings=settings_of("http://repository.invalid", tmp_path))


def test_a_full_disk_leaves_nothing(repository: MavenRepository, settings: Settings) -> None:
    repository.plan = [ranged(CONTENT)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    kept = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(CONTENT) // 2, before[1]))
    try:
        with pytest.raises(JarDownloadError, match=os.strerror(errno.EFBIG)) as caught:
            ensure_jars(JarSet.NESSIE, settings=settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, kept)
    assert "ASGARD_CACHE_DIR" in caught.value.hint
    assert len(repository.requests) == 1
    assert not part(settings).exists()


def test_a_redirect_is_followed(repository: MavenRepository, settings: Settings) -> None:
    with MavenRepository().running() as other:
        repository.plan, other.plan = [elsewhere(other.address)], [ranged(CONTENT)]
        ensure_jars(JarSet.NESSIE, settings=settings)
    assert cached(settings).read_bytes() == CONTENT


def test_a_user_in_the_address_goes_into_a_header_and_into_no_message(
    repository: MavenRepository, tmp_path: Path
) -> None:
    repository.plan = [refused(401)]
    settings = settings_of(f"http://someone:se%3Acret@{repository.host}/below", tmp_path)
    with pytest.raises(JarDownloadError) as caught:
        ensure_jars(JarSet.NESSIE, settings=settings)
    (request,) = repository.requests
    assert request.target == f"/below{PATH}"
    assert request.headers["authorization"] == f"Basic {base64.b64encode(b'someone:se:cret').decode()}"
    assert "cret" not in str(caught.value)


class TestProxy:
    ADDRESS = "http://repository.invalid/maven"

    def test_the_environments_proxy_is_asked(
        self, repository: MavenRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", f"someone:secret@{repository.host}")
        repository.plan = [ranged(CONTENT)]
        ensure_jars(JarSet.NESSIE, settings=settings_of(self.ADDRESS, tmp_path))
        (request,) = repository.requests
        assert request.target == f"{self.ADDRESS}{PATH}"
        assert request.headers["proxy-authorization"] == f"Basic {base64.b64encode(b'someone:secret').decode()}"

    def test_not_for_hosts_that_need_none(
        self, repository: MavenRepository, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        repository.plan = [ranged(CONTENT)]
        ensure_jars(JarSet.NESSIE, settings=settings)
        assert [request.target for request in repository.requests] == [PATH]

    def test_one_that_is_not_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        with pytest.raises(JarDownloadError, match="through the proxy: Connection refused"):
            ensure_jars(JarSet.NESSIE, settings=settings_of(self.ADDRESS, tmp_path))

    def test_one_of_another_kind(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("http_proxy", "socks5://someone:secret@127.0.0.1:1")
        with pytest.raises(EnvironmentSetupError, match=r"The proxy socks5://someone:\*\*\*@127\.0\.0\.1:1 .*can't"):
            ensure_jars(JarSet.NESSIE, settings=settings_of(self.ADDRESS, tmp_path))


class TestCertificates:
    @pytest.fixture
    def authority(self, tmp_path: Path) -> Authority:
        return Authority(tmp_path, "authority")

    @pytest.fixture
    def secured(self, authority: Authority) -> Iterator[MavenRepository]:
        with MavenRepository(server_context(authority.sign("repository"))).running() as found:
            found.plan = [ranged(CONTENT)]
            yield found

    def test_one_that_nobody_trusts_is_refused_once(self, secured: MavenRepository, tmp_path: Path) -> None:
        said: list[str] = []
        with pytest.raises(JarDownloadError, match="its certificate is not trusted") as caught:
            ensure_jars(JarSet.NESSIE, settings=settings_of(secured.address, tmp_path), say=said.append)
        assert "SSL_CERT_FILE (PEM) or ASGARD_TRUST_STORE" in caught.value.hint
        assert len(said) == 1
        assert secured.requests == []

    def test_a_file_that_the_environment_names(
        self, secured: MavenRepository, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
        settings = settings_of(secured.address, tmp_path)
        ensure_jars(JarSet.NESSIE, settings=settings)
        assert cached(settings).read_bytes() == CONTENT

    @pytest.mark.parametrize(("kind", "password"), [("JKS", "anything"), ("PKCS12", "changeit")])
    def test_a_trust_store_of_java(
        self, secured: MavenRepository, authority: Authority, tmp_path: Path, kind: str, password: str
    ) -> None:
        keytool = find_java(Purpose.TRUST_STORE, load_settings(environment={})).home / "bin" / "keytool"
        store = ["-keystore", "store", "-storetype", kind, "-storepass", password]
        subprocess.run(
            [keytool, "-importcert", "-noprompt", "-alias", "it", "-file", authority.path, *store],
            check=True,
            capture_output=True,
        )
        settings = settings_of(secured.address, tmp_path, trust_store=str(tmp_path / "store"))
        ensure_jars(JarSet.NESSIE, settings=settings)
        assert cached(settings).read_bytes() == CONTENT

    def test_a_trust_store_must_be_one(self, secured: MavenRepository, authority: Authority, tmp_path: Path) -> None:
        for path, words in ((tmp_path / "none", "does not exist"), (authority.path, "can't be read")):
            settings = settings_of(secured.address, tmp_path, trust_store=str(path))
            with pytest.raises(EnvironmentSetupError, match=rf"\(setting trust_store\) {words}"):
                ensure_jars(JarSet.NESSIE, settings=settings)

    def test_public_authorities_are_trusted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http_access, "SYSTEM_BUNDLES", ())
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
        context = http_access.trusted_certificates(settings_of("https://repository.invalid", tmp_path))
        assert len(context.get_ca_certs()) > 100


def test_the_public_repository_is_the_one_that_pyspark_knows(tmp_path: Path) -> None:
    address = repository_address(load_settings({"cache_dir": str(tmp_path)}, environment={}))
    assert address.startswith("https://")
    assert address.endswith("/maven2")


def test_without_pyspark_a_repository_must_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maven, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentSetupError, match="No Maven repository is known") as caught:
        repository_address(load_settings({"cache_dir": str(tmp_path)}, environment={}))
    assert "ASGARD_MAVEN_REPOSITORY" in caught.value.hint


def test_progress_is_said(repository: MavenRepository, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maven, "PROGRESS_SECONDS", 0.0)
    repository.plan = [ranged(CONTENT)]
    said: list[str] = []
    ensure_jars(JarSet.NESSIE, settings=settings, say=said.append)
    assert "  thing: 1 MB so far" in said


def test_a_jar_put_there_by_hand_is_taken(repository: MavenRepository, settings: Settings) -> None:
    cached(settings).parent.mkdir(parents=True)
    cached(settings).write_bytes(CONTENT)
    assert ensure_jars(JarSet.NESSIE, settings=settings) == [cached(settings)]
    assert repository.requests == []


def test_a_damaged_jar_is_fetched_again(repository: MavenRepository, settings: Settings) -> None:
    repository.plan = [ranged(CONTENT)]
    ensure_jars(JarSet.NESSIE, settings=settings)
    cached(settings).write_bytes(CONTENT[:-1])
    said: list[str] = []
    ensure_jars(JarSet.NESSIE, settings=settings, say=said.append)
    assert cached(settings).read_bytes() == CONTENT
    assert "is not the pinned jar" in said[0]


def test_a_new_pin_is_not_taken_for_the_old_jar(
    repository: MavenRepository, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.plan = [ranged(CONTENT), ranged(OTHER)]
    ensure_jars(JarSet.NESSIE, settings=settings)
    pinned = Jar(JAR.artifact, JAR.purpose, hashlib.sha256(OTHER).hexdigest(), 1)
    monkeypatch.setattr(jars, "JARS", (pinned,))
    ensure_jars(JarSet.NESSIE, settings=settings)
    assert cached(settings).read_bytes() == OTHER


def test_two_at_once_fetch_once(repository: MavenRepository, settings: Settings) -> None:
    arrived, release = threading.Event(), threading.Event()
    waits = threading.Event()

    def answer_late(request: object) -> None:
        arrived.set()
        release.wait()

    repository.plan = [lambda request: (answer_late(request), ranged(CONTENT)(request))[1], refused(500)]
    found: list[list[Path]] = []

    def fetch(say: list[str]) -> None:
        found.append(
            ensure_jars(
                JarSet.NESSIE,
                settings=settings,
                say=lambda line: waits.set() if "another process is fetching jars" in line else say.append(line),
            )
        )

    first, second = (threading.Thread(target=fetch, args=([],)) for _ in range(2))
    first.start()
    arrived.wait()
    second.start()
    waits.wait()
    release.set()
    first.join()
    second.join()
    assert found == [[cached(settings)]] * 2
    assert len(repository.requests) == 1


def test_a_killed_fetcher_leaves_no_lock_and_its_part(repository: MavenRepository, settings: Settings) -> None:
    release = threading.Event()
    repository.plan = [stalled(CONTENT, 600_000, release), ranged(CONTENT)]
    code = (
        "import sys; from asgard.common import jars; from asgard.common.maven import Artifact\n"
        "from asgard.common.settings import load_settings\n"
        f"jars.JARS = (jars.Jar({JAR.artifact!r}, jars.JarSet.NESSIE, {JAR.sha256!r}, 1),)\n"
        "settings = load_settings({'maven_repository': sys.argv[1], 'cache_dir': sys.argv[2]}, environment={})\n"
        "from asgard.common import maven; maven.PROGRESS_SECONDS = 0.0\n"
        "jars.ensure_jars(jars.JarSet.NESSIE, settings=settings, say=lambda line: print(line, flush=True))\n"
    )
    command = [sys.executable, "-c", code, repository.address, str(settings.cache_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as fetcher:
        assert fetcher.stdout is not None
        assert any("MB so far" in line for line in fetcher.stdout)
        fetcher.send_signal(signal.SIGKILL)
    release.set()
    came = part(settings).stat().st_size
    assert 0 < came <= 600_000
    ensure_jars(JarSet.NESSIE, settings=settings)
    assert cached(settings).read_bytes() == CONTENT
    assert [request.begin for request in repository.requests] == [None, came]


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = load_settings({"cache_dir": str(tmp_path / "file")}, environment={})
    with pytest.raises(EnvironmentSetupError, match="can't be written") as caught:
        ensure_jars(JarSet.NESSIE, settings=settings)
    assert "ASGARD_CACHE_DIR" in caught.value.hint


def test_the_pins_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert {jar.purpose for jar in jars.JARS} == set(JarSet)
    assert all(len(jar.sha256) == 64 and jar.megabytes > 0 for jar in jars.JARS)
    assert len({jar.file_name for jar in jars.JARS}) == len(jars.JARS)
