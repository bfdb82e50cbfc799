"""The one typed settings object, and where each of its values came from.

A value is looked up in this order: command-line flag, environment (`ASGARD_<NAME>`, then the setting's
well-known names such as `NESSIE_URI`), `asgard.toml`, the services that `asgard up` started in the
project folder, and a default that works on one machine. Only this module reads the environment.
"""

import getpass
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from asgard.common.errors import SettingsError
from asgard.common.names import check_reference

REGISTERED = "registered"
"""Value of `predict_as_of` by which views are read as they are registered."""
SERVICES_FILE = "services.json"
"""File that `asgard up` writes into the project folder: the addresses of the services that it started."""


class Secret:
    """A value that is never printed: only `reveal()` returns it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself, to be passed to the system that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> Any:
        raise TypeError("a Secret can't be pickled: pass on what it gives access to, or call reveal() on purpose")


_USER = re.compile(r"(?<=://)(.*)(?=@)", re.DOTALL)  # up to the last @: a password may contain an unescaped @
_PASSWORD = re.compile(r"(?<=password=)[^&]*")


def redact_url(url: str) -> str:
    """The URL without any password, even if the URL is malformed."""

    def hidden(match: re.Match[str]) -> str:
        user, colon, _ = match[1].partition(":")
        return f"{user}:***" if colon else user

    return _PASSWORD.sub("***", _USER.sub(hidden, url))


def _log_level(text: str) -> str:
    level = {"WARN": "WARNING"}.get(text.upper(), text.upper())
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError("one of DEBUG, INFO, WARNING, ERROR")
    return level


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        expected = " or ".join(f"{scheme}://..." for scheme in schemes)
        try:
            parts = urlsplit(text)
        except ValueError:  # its message repeats the text, with the password
            raise ValueError(expected) from None
        if parts.scheme not in schemes or not (parts.netloc or parts.path):
            raise ValueError(expected)
        return (parts.scheme + text[len(parts.scheme) :]).rstrip("/")  # urlsplit gives the scheme in lower case

    return parse


def _redis_url(text: str) -> Secret:
    return Secret(_url("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")(text))


def _nessie_uri(text: str) -> str:
    return re.sub(r"/api/v[12]$", "", _url("http", "https")(text))


def _warehouse(text: str) -> str:
    if "://" not in text and not text.lower().startswith("file:"):
        return Path(text).expanduser().resolve().as_uri()
    url = _url("file", "s3", "s3a")(text)
    return re.sub("^s3a:", "s3:", url)


def _bucket(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", text):
        raise ValueError("a bucket name such as my-lake, without s3:// and without a path")
    return f"s3://{text}/iceberg"


def _reference(text: str) -> str:
    try:
        return check_reference(text)
    except Exception as error:
        raise ValueError("a branch name such as main") from error


def _prefix(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", text):
        raise ValueError("letters, digits, _, . and -")
    return text


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ValueError("a whole number of at least 1")
    return int(text)


def _memory(text: str) -> str:
    if not re.fullmatch(r"\d+[kmgt]", text.lower()):
        raise ValueError("a size such as 2g or 1500m")
    return text.lower()


def _length_of_time(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d{0,3}[mhdwy]", text.lower()):
        raise ValueError("a length of time such as 30d, 12h or 1y")
    return text.lower()


def _path(text: str) -> Path:
    return Path(text).expanduser()


@dataclass(frozen=True)
class SettingDefinition:
    """One setting: its name, purpose, parser, default, and other environment variables that it is read from."""

    name: str
    help: str
    parse: Callable[[str], Any] = str
    default: str | None = None
    aliases: tuple[tuple[str, Callable[[str], Any] | None], ...] = ()

    @property
    def is_secret(self) -> bool:
        """Whether its text must never be shown."""
        return self.parse in (Secret, _redis_url)

    @property
    def variable(self) -> str:
        """Its own environment variable."""
        return f"ASGARD_{self.name.upper()}"


def _aliases(*names: str, **special: Callable[[str], Any]) -> tuple[tuple[str, Callable[[str], Any] | None], ...]:
    return (*((name, None) for name in names), *special.items())


DEFINITIONS: tuple[SettingDefinition, ...] = (
    SettingDefinition("project_dir", "folder of this project's services, warehouse and logs", _path, ".asgard"),
    SettingDefinition(
        "nessie_uri", "Nessie, with or without /api/v1 or /api/v2", _nessie_uri, None, _aliases("NESSIE_URI")
    ),
    SettingDefinition("nessie_ref", "the target ref: what runs publish to", _reference, "main", _aliases("NESSIE_REF")),
    SettingDefinition("nessie_token", "bearer token for Nessie", Secret, None, _aliases("NESSIE_AUTH_TOKEN")),
    SettingDefinition(
        "warehouse",
        "where tables are stored: a folder, file:// or s3://",
        _warehouse,
        None,
        _aliases(S3_BUCKET=_bucket),
    ),
    SettingDefinition("aws_access_key_id", "S3 key id", Secret, None, _aliases("AWS_ACCESS_KEY_ID")),
    SettingDefinition("aws_secret_access_key", "S3 secret key", Secret, None, _aliases("AWS_SECRET_ACCESS_KEY")),
    SettingDefinition("aws_session_token", "S3 session token", Secret, None, _aliases("AWS_SESSION_TOKEN")),
    SettingDefinition("aws_region", "S3 region", str, None, _aliases("AWS_REGION", "AWS_DEFAULT_REGION")),
    SettingDefinition(
        "s3_endpoint",
        "S3 endpoint other than AWS's",
        _url("http", "https"),
        None,
        _aliases("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    ),
    SettingDefinition(
        "mlflow_tracking_uri",
        "MLflow",
        _url("http", "https", "sqlite", "databricks"),
        None,
        _aliases("MLFLOW_TRACKING_URI"),
    ),
    SettingDefinition(
        "redis_url",
        "Redis address, with its password if it has one",
        _redis_url,
        None,
        _aliases("REDIS_URL"),
    ),
    SettingDefinition("online_prefix", "prefix of the names of Asgard's keys in Redis", _prefix, "asgard"),
    SettingDefinition("jdbc_password", "password of the database that `asgard ingest` reads", Secret),
    SettingDefinition(
        "pushgateway_url",
        "Prometheus Pushgateway that job totals go to",
        _url("http", "https"),
        None,
        _aliases("PUSHGATEWAY_URL"),
    ),
    SettingDefinition("metrics_textfile", "file for node_exporter's textfile collector (*.prom)", _path),
    SettingDefinition("log_level", "lowest level that is logged", _log_level, "WARNING", _aliases("LOG_LEVEL")),
    SettingDefinition(
        "environment", "a label on metrics and records, e.g. production", str, "local", _aliases("ENVIRONMENT")
    ),
    SettingDefinition("user", "who runs this, as recorded with each publish", str),
    SettingDefinition("code_version", "code version to record, instead of the package's stamp or git's commit", str),
    SettingDefinition("java_home", "Java 17 or 21 for Spark", _path, None, _aliases("JAVA_HOME")),
    SettingDefinition("trust_store", "Java trust store, behind a TLS-inspecting proxy", _path),
    SettingDefinition(
        "maven_repository", "address of the Maven repository that jars are fetched from", _url("http", "https")
    ),
    SettingDefinition(
        "cache_dir",
        "where downloaded jars are kept",
        _path,
        None,
        _aliases(XDG_CACHE_HOME=lambda text: Path(text) / "asgard"),
    ),
    SettingDefinition("spark_master", "Spark master; if not set, spark-submit's own, else local[*]", str),
    SettingDefinition("spark_driver_memory", "memory of the driver, when this process starts it", _memory, "1g"),
    SettingDefinition("spark_shuffle_partitions", "shuffle partitions (Spark's own default is 200)", _positive),
    SettingDefinition("conflict_attempts", "attempts of one run before a conflict is an error", _positive, "10"),
    SettingDefinition("duckdb_memory", "memory of a point-in-time join on one machine", _memory, "2g"),
    SettingDefinition("point_in_time_rows", "number of feature rows above which Spark joins", _positive, "200000000"),
    SettingDefinition("feast_registry", "file or SQL address of the Feast registry", str),
    SettingDefinition(
        "model_hold_grace", "how long the snapshots of an archived model version are kept", _length_of_time, "30d"
    ),
    SettingDefinition("pipeline", "the pipeline whose stale tables `asgard status` names: a module or a path", str),
    SettingDefinition(
        "predict_as_of",
        "what `asgard batch-predict` reads without --as-of: registered (views as registered), or a branch or tag",
        _reference,
        REGISTERED,
    ),
    SettingDefinition("no_color", "any value turns colors off", str, None, _aliases("NO_COLOR")),
)


@dataclass(frozen=True)
class Settings:
    """Everything that a user can set; see `DEFINITIONS` for the meaning of each."""

    project_dir: Path
    nessie_uri: str | None
    nessie_ref: str
    nessie_token: Secret | None
    warehouse: str
    aws_access_key_id: Secret | None
    aws_secret_access_key: Secret | None
    aws_session_token: Secret | None
    aws_region: str | None
    s3_endpoint: str | None
    mlflow_tracking_uri: str | None
    redis_url: Secret | None
    online_prefix: str
    jdbc_password: Secret | None
    pushgateway_url: str | None
    metrics_textfile: Path | None
    log_level: str
    environment: str
    user: str
    code_version: str | None
    java_home: Path | None
    trust_store: Path | None
    maven_repository: str | None
    cache_dir: Path
    spark_master: str | None
    spark_driver_memory: str
    spark_shuffle_partitions: int | None
    conflict_attempts: int
    duckdb_memory: str
    point_in_time_rows: int
    feast_registry: str | None
    model_hold_grace: str
    pipeline: str | None
    predict_as_of: str
    no_color: str | None
    sources: Mapping[str, str]
    """For each setting: the flag, variable, file or rule that gave its value."""

    @property
    def nessie(self) -> str:
        """Nessie's base address, without `/api/...`.

        Raises:
            SettingsError: no address is set and no local services were started.
        """
        if self.nessie_uri is None:
            raise SettingsError(
                "No Nessie is set: nessie_uri has no value, and no services were started in "
                f"{self.project_dir} (expected {self.project_dir / SERVICES_FILE}).",
                hint="Run `asgard up` for services on this machine, or set NESSIE_URI.",
            )
        return self.nessie_uri

    @property
    def mlflow(self) -> str:
        """MLflow's address.

        Raises:
            SettingsError: no address is set and no local services were started.
        """
        if self.mlflow_tracking_uri is None:
            raise SettingsError(
                "No MLflow is set: mlflow_tracking_uri has no value, and no services were started in "
                f"{self.project_dir} (expected {self.project_dir / SERVICES_FILE}).",
                hint="Run `asgard up` for services on this machine, or set MLFLOW_TRACKING_URI.",
            )
        return self.mlflow_tracking_uri

    def secrets(self) -> tuple[str, ...]:
        """All secret texts, for filters that remove them from output."""
        values = [getattr(self, name) for name in _names()]
        secrets = [value.reveal() for value in values if isinstance(value, Secret)]
        addresses = [text for text in (*secrets, *values) if isinstance(text, str) and "://" in text]
        passwords = [password for url in addresses if (password := urlsplit(url).password)]
        return tuple(text for text in (*secrets, *passwords) if text)


def _names() -> list[str]:
    return [field.name for field in fields(Settings) if field.name != "sources"]


def load_settings(
    flags: Mapping[str, str | None] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    config_file: Path | None = None,
) -> Settings:
    """Read the settings of this process.

    Args:
        flags: values given on the command line, by setting name; None means not given.
        environment: instead of the process's environment (for tests).
        config_file: instead of `ASGARD_CONFIG`, or `asgard.toml` in the working folder.

    Raises:
        SettingsError: a value is not allowed (its message names setting, source, value and what is
            allowed), or the file can't be read or names an unknown setting.
    """
    environment = os.environ if environment is None else environment
    config_path = config_file or Path(environment.get("ASGARD_CONFIG", "asgard.toml"))
    config = _read_config(config_path, required=config_file is not None or "ASGARD_CONFIG" in environment)
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    unknown = sorted(set(given) - set(_names()))
    if unknown:
        raise SettingsError(f"There is no setting {unknown[0]!r}.", hint=f"Known settings: {', '.join(_names())}.")
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for definition in DEFINITIONS:
        values[definition.name], sources[definition.name] = _look_up(
            definition, given, environment, config, config_path
        )
    _fill_from_services(values, sources)
    _fill_defaults(values, sources, environment)
    return Settings(**values, sources=sources)


def _look_up(
    definition: SettingDefinition,
    flags: Mapping[str, str],
    environment: Mapping[str, str],
    config: Mapping[str, str],
    config_path: Path,
) -> tuple[Any, str]:
    name = definition.name
    candidates: list[tuple[str, str | None, Callable[[str], Any]]] = [
        ("flag --dir" if name == "project_dir" else f"flag --set {name}", flags.get(name), definition.parse),
        (f"environment {definition.variable}", environment.get(definition.variable), definition.parse),
        *(
            (f"environment {alias}", environment.get(alias), parse or definition.parse)
            for alias, parse in definition.aliases
        ),
        (f"file {config_path}", config.get(name), definition.parse),
        ("default", definition.default, definition.parse),
    ]
    for source, text, parse in candidates:
        if text is None or text == "":
            continue
        try:
            return parse(text), source
        except ValueError as error:
            shown = "***" if definition.is_secret else redact_url(text) if "://" in text else text
            raise SettingsError(
                f"Setting {name} from {source} is {shown!r}; expected {error}.",
                hint="`asgard settings` lists every setting, its value and where it came from.",
            ) from (None if definition.is_secret else error)
    return None, "not set"


def _read_config(path: Path, *, required: bool) -> dict[str, str]:
    if not path.exists():
        if required:
            raise SettingsError(f"The settings file {path} does not exist.", hint="Check the path, or leave it out.")
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(
            f"The settings file {path} can't be read: {error}.", hint="It must be TOML, in UTF-8."
        ) from error
    unknown = sorted(set(content) - set(_names()))
    if unknown:
        raise SettingsError(
            f"The settings file {path} names unknown settings: {', '.join(unknown)}.",
            hint=f"Known settings: {', '.join(_names())}.",
        )
    return {name: str(value) for name, value in content.items()}


def _fill_from_services(values: dict[str, Any], sources: dict[str, str]) -> None:
    """Use the addresses that `asgard up` wrote for settings without a value."""
    path: Path = values["project_dir"] / SERVICES_FILE
    try:
        services = json.loads(path.read_text(encoding="utf-8"))["services"]
        urls = {service: str(content["url"]) for service, content in services.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    for service, name, parse in (
        ("nessie", "nessie_uri", _nessie_uri),
        ("redis", "redis_url", Secret),
        ("mlflow", "mlflow_tracking_uri", str),
    ):
        if values[name] is None and service in urls:
            values[name] = parse(urls[service])
            sources[name] = f"services of {values['project_dir']}"


def _fill_defaults(values: dict[str, Any], sources: dict[str, str], environment: Mapping[str, str]) -> None:
    computed: dict[str, Callable[[], Any]] = {
        "warehouse": lambda: (values["project_dir"] / "warehouse").resolve().as_uri(),
        "cache_dir": lambda: Path(environment.get("HOME", "~")).expanduser() / ".cache" / "asgard",
        "user": _user,
    }
    for name, default in computed.items():
        if values[name] is None:
            values[name], sources[name] = default(), "default"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, in a container
        return f"uid-{os.getuid()}"


def python_environment() -> Mapping[str, str]:
    """A copy of the process's environment, to start a child process with."""
    return dict(os.environ)


def as_variables(settings: Settings) -> dict[str, str]:
    """All settings, from any source, as environment variables for a child process of this one.

    The result contains secrets: give it only to that child.
    """
    given = {}
    for definition in DEFINITIONS:
        value = getattr(settings, definition.name)
        if value is not None:
            plain = value.reveal() if isinstance(value, Secret) else value
            given[definition.variable] = str(plain.absolute() if isinstance(plain, Path) else plain)
    return given


def set_for_children(name: str, value: str) -> None:
    """Set an environment variable for the processes that this one starts (Spark's JVM and workers)."""
    os.environ[name] = value


def set_unless_given(name: str, value: str) -> None:
    """Set an environment variable that a library reads, unless the user set it."""
    os.environ.setdefault(name, value)


def unset_for_children(name: str) -> None:
    """Remove an environment variable from this process and those that it starts."""
    os.environ.pop(name, None)
