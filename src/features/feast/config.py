"""Content of `feature_store.yaml`: where Feast finds the registry, the gold tables, and Redis."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from asgard.common.settings import Settings

ONLINE_VARIABLE = "FEAST_REDIS"
"""Environment variable from which Feast takes Redis's address if the address has a password."""


def feast_project(prefix: str) -> str:
    """The project in Feast's registry and in keys of codec `feast`: the online prefix in letters that Feast allows.

    So lakehouses that share a Redis have separate keys there.
    """
    return re.sub(r"[^\w-]", "_", prefix).lstrip("_-") or "asgard"


def repository(settings: Settings) -> Path:
    """The folder of the Feast repository."""
    return (settings.project_dir / "feast").resolve()


def configuration(settings: Settings, *, secrets: bool) -> dict[str, Any]:
    """The content of feature_store.yaml.

    Args:
        settings: of the project.
        secrets: whether addresses contain their passwords, for this process only; else they are names of environment
            variables.
    """
    registry: dict[str, Any] = {"cache_ttl_seconds": 60}
    if is_sql(settings):
        address = settings.feast_registry if secrets else _shown_address(settings)
        registry |= {"registry_type": "sql", "path": re.sub("^postgres(ql)?:", "postgresql+psycopg:", address or "")}
    else:
        store = "asgard.features.feast.source.AtomicRegistryStore"
        registry |= {"registry_store_type": store, "path": str(registry_file(settings))}
    offline = {
        "type": "asgard.features.feast.source.SnapshotOfflineStore",
        "project_dir": str(settings.project_dir.resolve()),
    }
    return {
        "project": feast_project(settings.online_prefix),
        "provider": "local",
        "registry": registry,
        "offline_store": offline,
        "online_store": _online_store(settings, secrets=secrets),
        "entity_key_serialization_version": 3,
    }


def is_sql(settings: Settings) -> bool:
    """Whether the registry is a database, not a file."""
    return "://" in (settings.feast_registry or "")


def registry_file(settings: Settings) -> Path:
    """The path of the registry, if it is a file."""
    return Path(settings.feast_registry or repository(settings) / "registry.db").expanduser().resolve()


def _shown_address(settings: Settings) -> str | None:
    """The registry's address for a file; if it has a password, the environment variable from which Feast reads it."""
    address = settings.feast_registry
    has_password = is_sql(settings) and urlsplit(address or "").password is not None
    return "${ASGARD_FEAST_REGISTRY}" if has_password else address


def _online_store(settings: Settings, *, secrets: bool) -> dict[str, Any]:
    """Redis, which Feast only reads: only Asgard writes there, and Feast must not delete anything.

    Without a Redis that Feast can reach (it does not support Unix sockets), Feast gets its own store, which stays
    empty.
    """
    url = settings.redis_url.reveal() if settings.redis_url else ""
    if not url or url.startswith("unix"):
        return {"type": "sqlite", "path": "online.db"}
    parts = urlsplit(url)
    has_sentinels = "sentinel" in parts.scheme
    address = connection_string(url)
    if address is None:
        return {"type": "sqlite", "path": "online.db"}
    if (parts.password or "password" in parts.query) and not secrets:
        address = f"${{{ONLINE_VARIABLE}}}"
    store: dict[str, Any] = {"type": "redis", "connection_string": address, "full_scan_for_deletion": False}
    if has_sentinels:
        store |= {"redis_type": "redis_sentinel", "sentinel_master": parts.path.strip("/").partition("/")[0]}
    return store


def connection_string(url: str) -> str | None:
    """Redis's address in Feast's format: hosts, then the options for redis-py, all separated by commas.

    None for an address that this format can't express: with a comma in a password, IPv6, or a password of the
    Sentinels.
    """
    parts = urlsplit(url)
    has_sentinels = "sentinel" in parts.scheme
    hosts, path = parts.netloc.rpartition("@")[2].split(","), parts.path.strip("/")
    port = "26379" if has_sentinels else "6379"
    given = {name: each[0] for name, each in parse_qs(parts.query).items()}
    database = path.partition("/")[2] if has_sentinels else path or given.pop("db", "")
    options = {
        "db": database or "0",
        "username": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "ssl": "true" if parts.scheme.startswith("rediss") else "",
        **given,
    }
    nodes = [host if host.rpartition(":")[2].isdigit() and ":" in host else f"{host}:{port}" for host in hosts]
    values = {name: value if name in ("db", "ssl") else _as_text(value) for name, value in options.items() if value}
    if "[" in parts.netloc or "sentinel_password" in given or any("," in value for value in values.values()):
        return None
    return ",".join([*nodes, *(f"{name}={value}" for name, value in values.items())])


def _as_text(value: str) -> str:
    """A value, quoted if Feast would otherwise parse it as JSON."""
    try:
        json.loads(value)
    except ValueError:
        return value
    return json.dumps(value)
