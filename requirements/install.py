"""Make `.venv` from the locked requirements. `./run` calls this; it needs only Python itself.

First pip installs uv, by hash; then uv installs the packages (in a third of pip's time). If uv fails (a proxy
or an index that only pip is configured for), pip installs them. A record in `.venv` says what was installed, so
the next call ends at once. An interrupted call leaves a mark, and the next call installs everything again.
"""

import ast
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
PIP = (BIN / "python", "-m", "pip", "install", "--quiet")
UNFINISHED = VENV / "asgard-unfinished"
LOCKS = {"build": (), "demo": ("demo.lock",), "dev": ("dev.lock",)}
INCLUDES = {"build": ("build", "demo", "dev"), "demo": ("demo", "dev"), "dev": ("dev",)}
"""For each level: the levels that include it."""
PAUSE_SECONDS = 5


class InstallError(Exception):
    """A step of the installation failed; the step itself has printed the reason."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message}.\nhint: {hint}")


def main(level: str) -> int:
    """Install one level: build (uv and setuptools), demo, or dev."""
    with Path(__file__).open() as lock:  # of two concurrent calls, the second waits, and finds everything installed
        fcntl.flock(lock, fcntl.LOCK_EX)
        if any(_noted(other) == _fingerprint(other) for other in INCLUDES[level]) and _works():
            return 0
        try:
            _install(level)
        except InstallError as error:
            _say(f"error: {error}")
            return 1
        except KeyboardInterrupt:
            _say("interrupted; the next ./run installs everything again")
            return 130
    return 0


def _note(level: str) -> Path:
    return VENV / f"asgard-installed-{level}"


def _noted(level: str) -> str:
    try:
        return "" if UNFINISHED.exists() else _note(level).read_text()
    except OSError:
        return ""


def _fingerprint(level: str) -> str:
    """Digest of what the environment depends on: lock files, pyproject.toml, this folder, and the Python version."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {ROOT}".encode())
    for name in ("requirements/build.lock", *(f"requirements/{lock}" for lock in LOCKS[level]), "pyproject.toml"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def _works() -> bool:
    """Whether the environment's Python still starts (its base Python may have been removed)."""
    try:
        return subprocess.run([BIN / "python", "-c", ""], check=False).returncode == 0
    except OSError:
        return False


def _install(level: str) -> None:
    started = time.monotonic()
    if VENV.exists() and not UNFINISHED.exists() and not any(_note(level).exists() for level in LOCKS):
        raise InstallError(f"{VENV} exists, and was not created by ./run", "move it away, or delete it.")
    if VENV.exists() and (UNFINISHED.exists() or not _is_usable()):
        _say("removing a .venv that is incomplete or has another Python version")
        shutil.rmtree(VENV)
    if not VENV.exists():
        _say(f"creating .venv with Python {sys.version.split()[0]}")
        _make_venv()
    UNFINISHED.touch()
    _say("installing the build tools and uv (requirements/build.lock)")
    _pip("--require-hashes", "--requirement", "requirements/build.lock")
    for lock in LOCKS[level]:
        _say(f"installing the packages of requirements/{lock}: one to a few minutes, 1.5 GB on disk")
        _install_locked(f"requirements/{lock}")
    if level != "build":
        _say("installing Asgard itself, editable")
        if not _run([*PIP, "--no-deps", "--no-build-isolation", "--editable", "."], _environment()):
            raise InstallError("installing Asgard itself failed", "check pyproject.toml and the folders under src/.")
    for other in LOCKS:
        if other in ("build", level):
            _note(other).write_text(_fingerprint(other))
        else:
            _note(other).unlink(missing_ok=True)
    UNFINISHED.unlink()
    _say(f"installed in {time.monotonic() - started:.0f} s")


def _is_usable() -> bool:
    """Whether .venv has this version of Python, and works."""
    try:
        version = f"version = {sys.version_info[0]}.{sys.version_info[1]}."
        return version in (VENV / "pyvenv.cfg").read_text() and _works()
    except OSError:
        return False


def _make_venv() -> None:
    VENV.mkdir()
    UNFINISHED.touch()
    try:
        venv.create(VENV, with_pip=True, symlinks=True)
    except (subprocess.CalledProcessError, OSError) as error:
        _say(f"{error}")
        raise InstallError(
            "creating .venv failed", "on Debian and Ubuntu it needs the package python3-venv."
        ) from error


def _install_locked(lock: str) -> None:
    environment = _uv_environment()
    quiet = [] if sys.stderr.isatty() else ["--quiet"]  # no progress bars in the logs of CI
    compiled = "--compile-bytecode"  # as pip does; else each process compiles what it imports, which takes seconds
    arguments = ["pip", "install", *quiet, compiled, "--require-hashes", "--no-build-isolation", "--requirement", lock]
    for options in ([], ["--system-certs"]):
        if _run([BIN / "uv", *arguments, *options], environment):
            return
        _say(f"uv failed; retrying in {PAUSE_SECONDS} s")
        time.sleep(PAUSE_SECONDS)
    _say("uv failed; retrying with pip, which is slower")
    _pip("--require-hashes", "--no-build-isolation", "--requirement", lock)


def _pip(*arguments: str) -> None:
    for attempt in (1, 2, 3):
        if _run([*PIP, "--retries", "2", *arguments], _environment()):
            return
        if attempt < 3:
            _say(f"pip failed; retrying in {PAUSE_SECONDS} s ({attempt} of 3 tries)")
            time.sleep(PAUSE_SECONDS)
    raise InstallError(
        f"pip install {' '.join(arguments)} failed",
        "check the network (behind a proxy: HTTPS_PROXY, PIP_CERT, PIP_INDEX_URL), then run this again.",
    )


def _run(command: list[str | Path], environment: dict[str, str]) -> bool:
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


def _environment() -> dict[str, str]:
    return {
        **os.environ,  # noqa: TID251 - this runs before Asgard and its settings are installed
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "VIRTUAL_ENV": str(VENV),
    }


def _uv_environment() -> dict[str, str]:
    """The environment, plus pip's configuration (variables and pip.conf) under uv's names."""
    environment = _environment()
    listed = subprocess.run(
        [BIN / "python", "-m", "pip", "config", "list"], capture_output=True, text=True, env=environment, check=False
    )
    pip: dict[str, str] = {}
    for line in listed.stdout.splitlines():
        name, _, value = line.partition("=")
        pip[name.rpartition(".")[2]] = str(ast.literal_eval(value))
    names = {
        "index-url": "UV_DEFAULT_INDEX",
        "extra-index-url": "UV_INDEX",
        "cert": "SSL_CERT_FILE",
        "proxy": "ALL_PROXY",
        "trusted-host": "UV_INSECURE_HOST",
        "no-index": "UV_NO_INDEX",
        "timeout": "UV_HTTP_TIMEOUT",
        "default-timeout": "UV_HTTP_TIMEOUT",
    }
    for name, variable in names.items():
        if name in pip:
            environment.setdefault(variable, " ".join(pip[name].split()))
    links = [link for link in pip.get("find-links", "").split() if "://" in link or Path(link).is_dir()]
    if links:
        environment.setdefault("UV_FIND_LINKS", ",".join(links))
    return environment


def _say(line: str) -> None:
    sys.stderr.write(f"==> {line}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
