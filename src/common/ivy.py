"""Fetch one artifact from a Maven repository, with the Ivy that pyspark carries.

Ivy knows classifiers and continues safely after a kill, and it is there wherever pyspark is.
"""

import importlib.util
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from asgard.common.aliases import Say
from asgard.common.errors import EnvironmentSetupError
from asgard.common.java import Purpose, download_options, find_java
from asgard.common.settings import Settings, python_environment

PROGRESS_SECONDS = 5.0


@dataclass(frozen=True)
class Artifact:
    """Maven coordinates of one jar."""

    group: str
    name: str
    version: str
    classifier: str | None = None

    @property
    def file_name(self) -> str:
        """Its file name in a Maven repository."""
        return f"{self.name}-{self.version}{f'-{self.classifier}' if self.classifier else ''}.jar"

    def __str__(self) -> str:
        return f"{self.group}:{self.name}:{self.version}{f':{self.classifier}' if self.classifier else ''}"


class JarDownloadError(EnvironmentSetupError):
    """A jar could not be fetched."""


_SETTINGS = """<ivysettings>
  <settings defaultResolver="central"/>
  <caches defaultCacheDir="${ivy.cache}"/>
  <resolvers><ibiblio name="central" m2compatible="true" usepoms="false" checksums=""/></resolvers>
</ivysettings>
"""
_MODULE = """<ivy-module version="2.0" xmlns:m="http://ant.apache.org/ivy/maven">
  <info organisation="asgard" module="jars"/>
  <dependencies>
    <dependency org="{group}" name="{name}" rev="{version}" transitive="false">
      <artifact name="{name}" type="jar" ext="jar"{classifier}/>
    </dependency>
  </dependencies>
</ivy-module>
"""


def fetch(artifact: Artifact, work: Path, settings: Settings, say: Say) -> Path:
    """Fetch one jar into an empty folder, and nothing beside it.

    Args:
        artifact: what to fetch.
        work: an empty folder; Ivy's own cache and log go there too.
        settings: `java_home` and `trust_store` count here.
        say: gets a line every few seconds with the megabytes that have come in.

    Raises:
        JarDownloadError: Ivy ended badly, or without the jar; the message has its reason.
        EnvironmentSetupError: there is no Java or no pyspark to do it with.
    """
    log = work / "ivy.log"
    command = _command(artifact, work, settings)
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=python_environment(), cwd=work
            )
    except OSError as error:
        raise EnvironmentSetupError(
            f"{command[0]} can't be started: {error.strerror}.", hint="Set ASGARD_JAVA_HOME to another Java."
        ) from error
    with process:
        try:
            _wait(process, artifact, work, say)
        except BaseException:
            process.kill()
            raise
    fetched = next((work / "out").glob("*.jar"), None)
    if process.returncode != 0 or fetched is None:
        raise JarDownloadError(
            f"{artifact} could not be fetched: {reason(log.read_text(encoding='utf-8', errors='replace'))}",
            hint="Check the network. Behind a proxy set HTTPS_PROXY, and ASGARD_TRUST_STORE if it inspects TLS; "
            f"or put the file at {settings.cache_dir / 'jars' / artifact.file_name} yourself.",
        )
    return fetched


def _command(artifact: Artifact, work: Path, settings: Settings) -> list[str]:
    java = find_java(Purpose.DOWNLOAD, settings)
    classifier = f' m:classifier="{artifact.classifier}"' if artifact.classifier else ""
    module = _MODULE.format(group=artifact.group, name=artifact.name, version=artifact.version, classifier=classifier)
    (work / "settings.xml").write_text(_SETTINGS, encoding="utf-8")
    (work / "ivy.xml").write_text(module, encoding="utf-8")
    return [
        str(java.executable),
        *download_options(java, settings),
        f"-Divy.cache={work / 'cache'}",
        *("-jar", str(_ivy_jar())),
        *("-settings", str(work / "settings.xml"), "-ivy", str(work / "ivy.xml")),
        *("-retrieve", str(work / "out" / "[artifact].[ext]")),
    ]


def _ivy_jar() -> Path:
    spec = importlib.util.find_spec("pyspark")
    folders = spec.submodule_search_locations or [] if spec else []
    found = next((path for folder in folders for path in Path(folder).glob("jars/ivy-*.jar")), None)
    if found is None:
        raise EnvironmentSetupError(
            "Jars are fetched by the Ivy that pyspark carries, and it is not there (expected pyspark/jars/ivy-*.jar).",
            hint="Install pyspark with pip into this Python environment.",
        )
    return found


def _wait(process: "subprocess.Popen[bytes]", artifact: Artifact, work: Path, say: Say) -> None:
    while True:
        try:
            process.wait(timeout=PROGRESS_SECONDS)
            return
        except subprocess.TimeoutExpired:
            loaded = sum(path.stat().st_size for path in work.rglob("*.part") if path.exists())
            say(f"  {artifact.name}: {loaded // 1_000_000} MB so far")


_CAUSES = (
    r".*PKIX path building failed.*",
    r".*No space left on device.*",
    r".*(?:UnknownHostException|Host \S+ not found).*",
    r".*(?:ConnectException|SocketTimeoutException|SocketException|SSL\w*Exception).*",
    r".*(?:SERVER ERROR:|download failed|\[FAILED\s*\]).*",
    r".*(?:unresolved dependency|: not found).*",
    r".*(?:Exception|Error).*",
)


def reason(log: str) -> str:
    """What went wrong, in Ivy's own words: the most telling line of its log."""
    for pattern in _CAUSES:
        if match := re.search(pattern, log):
            return re.sub(r"\s+", " ", match[0].replace("::", "")).strip().rstrip(".") + "."
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return f"Ivy gave no reason; its last line is: {lines[-1]}" if lines else "Ivy gave no reason."
