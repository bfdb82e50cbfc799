"""HTTP to other machines: the environment's proxy, and the certificates that are trusted.

`HTTP_PROXY` and `HTTPS_PROXY` name the proxy, except for the hosts in `NO_PROXY`. If the setting `trust_store` is set,
only its certificates are trusted; else those of the system, of `SSL_CERT_FILE` and `SSL_CERT_DIR`, and the public
ones of certifi.
"""

import re
import ssl
import subprocess
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import certifi
import urllib3
from urllib3 import exceptions

from asgard.common.errors import EnvironmentSetupError
from asgard.common.java import Purpose, find_java
from asgard.common.settings import Settings, redact_url

SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Files where systems keep trusted certificates, for a Python whose OpenSSL reads other files."""
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_TIMEOUT = urllib3.Timeout(connect=15.0, read=60.0)


@dataclass(frozen=True)
class Site:
    """An address to send requests to, directly or through a proxy.

    Attributes:
        address: the address without user and password.
        headers: headers of each request, with the user and password of the address.
        pool: sends the requests.
    """

    address: str
    headers: dict[str, str]
    pool: urllib3.PoolManager

    def close(self) -> None:
        """Close the connections."""
        self.pool.clear()


def open_site(address: str, settings: Settings) -> Site:
    """Prepare requests to an address.

    Args:
        address: `http://` or `https://`; may contain a user and a password.
        settings: `trust_store` is used.

    Raises:
        EnvironmentSetupError: the proxy or the trust store can't be used.
    """
    plain, user = _split_user(address)
    return Site(plain, {"Authorization": _basic(user)} if user else {}, _pool(plain, settings))


def _basic(user: str) -> str:
    """The header for `user:password`, or for a token alone, in UTF-8 (RFC 7617)."""
    return f"Basic {b64encode((user if ':' in user else f'{user}:').encode()).decode()}"


def _split_user(address: str) -> tuple[str, str]:
    """An address without its user and password, and `user:password`."""
    parts = urlsplit(address)
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=host)), unquote(user)


def _pool(address: str, settings: Settings) -> urllib3.PoolManager:
    parts = urlsplit(address)
    certificates = trusted_certificates(settings)  # also for http://, which may redirect to https://
    proxy = getproxies().get(parts.scheme)
    if not proxy or proxy_bypass(parts.hostname or ""):
        return urllib3.PoolManager(timeout=_TIMEOUT, ssl_context=certificates)
    plain, user = _split_user(proxy if "://" in proxy else f"http://{proxy}")
    headers = {"Proxy-Authorization": _basic(user)} if user else None
    try:
        return urllib3.ProxyManager(plain, proxy_headers=headers, timeout=_TIMEOUT, ssl_context=certificates)
    except exceptions.HTTPError as error:
        raise EnvironmentSetupError(
            f"The proxy {redact_url(proxy)} of the environment can't be used; expected http://HOST:PORT.",
            hint=f"Set {parts.scheme.upper()}_PROXY to such an address.",
        ) from error


def trusted_certificates(settings: Settings) -> ssl.SSLContext:
    """TLS context that trusts the setting `trust_store`; else the system's and the public authorities' certificates.

    Raises:
        EnvironmentSetupError: the trust store does not exist, or contains no readable certificates.
    """
    if settings.trust_store is not None:
        return ssl.create_default_context(cadata="\n".join(_certificates(settings.trust_store, settings)))
    context = ssl.create_default_context()
    bundle = next((path for path in SYSTEM_BUNDLES if Path(path).is_file()), None)
    for path in (bundle, certifi.where()):
        if path is not None:
            context.load_verify_locations(path)
    return context


def _certificates(store: Path, settings: Settings) -> list[str]:
    """The certificates of a Java key store, as PEM, read by Java's own keytool."""
    if not store.is_file():
        raise EnvironmentSetupError(
            f"The trust store {store} (setting trust_store) does not exist.",
            hint="Give a Java key store (JKS or PKCS12), such as the cacerts file of a Java on this machine.",
        )
    command = [str(find_java(Purpose.TRUST_STORE, settings).home / "bin" / "keytool"), "-list", "-rfc"]
    output = ""
    for password in ([], ["-storepass", "changeit"]):  # Java's default; most stores need none to be read
        try:
            output = subprocess.run(
                [*command, "-keystore", str(store), *password],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
            ).stdout
        except OSError as error:
            raise EnvironmentSetupError(
                f"{command[0]} can't be started: {error.strerror}.", hint="Set ASGARD_JAVA_HOME to another Java."
            ) from error
        if found := _CERTIFICATE.findall(output):
            return found
    last = (output.strip().splitlines() or ["it is empty"])[-1]
    raise EnvironmentSetupError(
        f"The trust store {store} (setting trust_store) can't be read: {last}",
        hint="Give a Java key store (JKS or PKCS12) that contains certificates, without a password or with the "
        "password `changeit`. For a PEM file set SSL_CERT_FILE instead.",
    )


def is_untrusted(error: exceptions.HTTPError) -> bool:
    """Whether a request failed because the server's certificate is not trusted."""
    return isinstance(_innermost(error), ssl.SSLCertVerificationError)


def reason_of(error: exceptions.HTTPError) -> str:
    """Why a request failed, in a few words."""
    cause = _innermost(error)
    match cause:
        case ssl.SSLCertVerificationError():
            words = f"its certificate is not trusted ({cause.verify_message})"
        case exceptions.NameResolutionError():
            words = "its host is not known"
        case exceptions.TimeoutError():
            words = "no answer came in time"
        case exceptions.ProtocolError():
            words = "the connection broke"
        case _:
            words = getattr(cause, "strerror", None) or str(cause).rpartition(": ")[2] or type(cause).__name__
    outer = error.reason if isinstance(error, exceptions.MaxRetryError) else error
    return f"through the proxy: {words}" if isinstance(outer, exceptions.ProxyError) else words


def _innermost(error: BaseException) -> BaseException:
    """The cause that urllib3's exceptions wrap."""
    match error:
        case exceptions.MaxRetryError(reason=Exception() as reason):
            return _innermost(reason)
        case exceptions.ProxyError(original_error=original):
            return _innermost(original)
        case exceptions.SSLError(args=(Exception() as inner, *_)):
            return _innermost(inner)
        case exceptions.NewConnectionError(__cause__=OSError() as inner) if not isinstance(
            error, exceptions.NameResolutionError
        ):
            return inner
    return error
