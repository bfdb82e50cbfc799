"""Fetch files of a Maven repository: one streamed GET each, resumed where an earlier one stopped."""

import time
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import urllib3

from asgard.common.aliases import Say
from asgard.common.errors import EnvironmentSetupError
from asgard.common.http_access import Site, is_untrusted, open_site, reason_of
from asgard.common.settings import Settings, redact_url

TRIES = 3
BACKOFF_SECONDS = 1.0
PROGRESS_SECONDS = 5.0
_BLOCK = 1 << 18
_REDIRECTS = urllib3.Retry(total=5, connect=0, read=0, status=0, other=0)
_TEMPORARY = (408, 429, 500, 502, 503, 504)
_DEFAULT = ("org/apache/ivy/core/settings/repository.properties", "ivy.ibiblio.default.artifact.root")
"""The file in pyspark's Ivy jar that names Ivy's default repository, and the property's name."""


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

    @property
    def path(self) -> str:
        """Its path below the address of a Maven repository."""
        return "/".join((*self.group.split("."), self.name, self.version, self.file_name))

    def __str__(self) -> str:
        return f"{self.group}:{self.name}:{self.version}{f':{self.classifier}' if self.classifier else ''}"


class JarDownloadError(EnvironmentSetupError):
    """A jar could not be fetched."""


class _Failure(Exception):
    """One try failed.

    Args:
        reason: text for the message.
        hint: what to do; "" for the usual hint.
        is_final: whether another try would fail in the same way.
    """

    def __init__(self, reason: str, hint: str = "", *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.hint, self.is_final = reason, hint, is_final


def repository_address(settings: Settings) -> str:
    """The setting `maven_repository`; else the public repository that pyspark's Ivy jar names.

    Raises:
        EnvironmentSetupError: the setting has no value, and pyspark's Ivy jar was not found.
    """
    if settings.maven_repository is not None:
        return settings.maven_repository
    spec = find_spec("pyspark")
    folders = (spec.submodule_search_locations or []) if spec else []
    jar = next((path for folder in folders for path in Path(folder).glob("jars/ivy-*.jar")), None)
    if jar is not None:
        path, name = _DEFAULT
        with zipfile.ZipFile(jar) as archive:
            lines = archive.read(path).decode().splitlines() if path in archive.namelist() else []
        pairs = (line.partition("=") for line in lines)
        address = next((value.strip() for key, _, value in pairs if key.strip() == name), "")
        if address:
            return address.rstrip("/")
    raise EnvironmentSetupError(
        "No Maven repository is known: the setting maven_repository has no value, and pyspark's jars/ivy-*.jar, "
        "which names the public one, was not found.",
        hint="Install pyspark with pip into this Python environment, or set ASGARD_MAVEN_REPOSITORY.",
    )


def download(artifact: Artifact, target: Path, settings: Settings, say: Say) -> None:
    """Fetch one file; if `target` exists, fetch only the rest of it.

    The caller must verify the file. If the fetch fails, the part that was received stays in `target`.

    Args:
        artifact: what to fetch.
        target: file to write; only one process may write it at a time.
        settings: `maven_repository` and `trust_store` are used; `cache_dir` appears in a hint.
        say: receives a line every few seconds with the megabytes received so far, and one for each failed try.

    Raises:
        JarDownloadError: the file can't be fetched or written; the message has the reason.
        EnvironmentSetupError: the repository, the proxy or the trust store can't be used.
    """
    site = open_site(repository_address(settings), settings)
    url = f"{site.address}/{artifact.path}"
    try:
        for attempt in range(1, TRIES + 1):
            try:
                return _receive(site, url, target, _Progress(artifact.name, say))
            except _Failure as failure:
                message = f"{artifact} could not be fetched: {redact_url(url)}: {redact_url(failure.reason)}."
                if attempt == TRIES or failure.is_final:
                    by_hand = settings.cache_dir / "jars" / artifact.file_name
                    raise JarDownloadError(message, hint=_hint(failure, by_hand)) from failure
                pause = BACKOFF_SECONDS * 4 ** (attempt - 1)
                say(f"{message} Trying again in {pause:.0f} s (try {attempt} of {TRIES}).")
                time.sleep(pause)
    finally:
        site.close()


def _hint(failure: _Failure, by_hand: Path) -> str:
    usual = "Check the network. Behind a proxy set HTTPS_PROXY, and ASGARD_TRUST_STORE if it inspects TLS"
    return f"{failure.hint or usual}; or put the file at {by_hand} yourself."


def _receive(site: Site, url: str, target: Path, progress: "_Progress") -> None:
    """Make one request, for the part that `target` does not contain yet."""
    begun = target.stat().st_size if target.exists() else 0
    headers = {**site.headers, "Accept-Encoding": "identity", **({"Range": f"bytes={begun}-"} if begun else {})}
    try:
        answer = site.pool.request("GET", url, headers=headers, preload_content=False, retries=_REDIRECTS)
        with answer:
            if answer.status not in (200, 206):
                raise _refused(answer, target if begun else None)
            is_continued = begun > 0 and answer.headers.get("Content-Range", "").startswith(f"bytes {begun}-")
            if answer.status == 206 and not is_continued:
                target.unlink(missing_ok=True)
                raise _Failure(f"it sent another part than requested ({answer.headers.get('Content-Range')})")
            _write(answer, target, begun if is_continued else 0, progress)
    except urllib3.exceptions.HTTPError as error:
        hint = "If a proxy inspects TLS, name its certificate: SSL_CERT_FILE (PEM) or ASGARD_TRUST_STORE (of Java)"
        raise _Failure(reason_of(error), hint if is_untrusted(error) else "", is_final=is_untrusted(error)) from error


_ANOTHER = "Set ASGARD_MAVEN_REPOSITORY to the address of a repository that has it"
_ACCESS = "Set the user and the password in ASGARD_MAVEN_REPOSITORY (https://user:password@HOST/...)"
_HINTS = {401: _ACCESS, 403: _ACCESS, 407: "Set the proxy's user and password in HTTP_PROXY or HTTPS_PROXY"}


def _refused(answer: urllib3.BaseHTTPResponse, begun: Path | None) -> _Failure:
    if answer.status == 416 and begun is not None:  # the local part is longer than the file
        begun.unlink()
        return _Failure("the part from an earlier try does not belong to this file")
    return _Failure(
        f"the answer is {answer.status} {answer.reason or ''}".rstrip(),
        _HINTS.get(answer.status, "" if answer.status in _TEMPORARY else _ANOTHER),
        is_final=answer.status not in _TEMPORARY,
    )


def _write(answer: urllib3.BaseHTTPResponse, target: Path, begun: int, progress: "_Progress") -> None:
    size = begun
    try:
        with target.open("ab" if begun else "wb") as file:
            for block in answer.stream(_BLOCK, decode_content=False):
                file.write(block)
                size += len(block)
                progress.tell(size)
    except OSError as error:  # an error of the file: errors of the connection are urllib3's
        target.unlink(missing_ok=True)
        raise _Failure(
            f"{target} can't be written: {error.strerror}",
            "Free some space there, or set ASGARD_CACHE_DIR to a folder elsewhere",
            is_final=True,
        ) from error


class _Progress:
    """Reports every few seconds how much was received."""

    def __init__(self, name: str, say: Say) -> None:
        self._name, self._say, self._next = name, say, time.monotonic() + PROGRESS_SECONDS

    def tell(self, size: int) -> None:
        if time.monotonic() >= self._next:
            self._say(f"  {self._name}: {size // 1_000_000} MB so far")
            self._next = time.monotonic() + PROGRESS_SECONDS
