"""Nessie on one machine: Nessie's runner jar with a RocksDB store, which survives a kill."""

import shutil
from pathlib import Path

from asgard.common.aliases import Say
from asgard.common.jars import JarSet, ensure_jars
from asgard.common.java import Purpose, find_java
from asgard.common.settings import Settings, python_environment
from asgard.local.services.ports import HOST
from asgard.local.services.service import Launch, Ports, Service, answers, http_url


def _prepare(folder: Path, ports: Ports, settings: Settings, say: Say) -> Launch:
    (jar,) = ensure_jars(JarSet.NESSIE, settings=settings, say=say)
    java = find_java(Purpose.NESSIE, settings)
    temporary = folder / "tmp"  # RocksDB unpacks its library there, and leaves it behind when killed
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    properties = {
        "java.io.tmpdir": temporary,
        "quarkus.http.host": HOST,
        "quarkus.http.port": ports["port"],
        "quarkus.http.access-log.enabled": "false",
        "quarkus.management.host": HOST,  # else it listens on all interfaces
        "quarkus.management.port": ports["management"],
        "nessie.version.store.type": "ROCKSDB",
        "nessie.version.store.persist.rocks.database-path": folder / "rocksdb",
    }
    return Launch(
        (
            str(java.executable),
            *("-Xmx256m", "-XX:+UseSerialGC"),
            "-XX:TieredStopAtLevel=1",  # without the second compiler: half the CPU at the start, 35 MB less memory
            *("-XX:+ExitOnOutOfMemoryError", f"-XX:ErrorFile={folder}/jvm-error.log"),
            *(f"-D{name}={value}" for name, value in properties.items()),
            *("-jar", str(jar)),
        ),
        # Quarkus would read its own settings from these
        {k: v for k, v in python_environment().items() if not k.startswith(("QUARKUS_", "NESSIE_"))},
    )


def _is_healthy(ports: Ports) -> bool:
    return answers(f"{http_url(ports['management'])}/q/health/ready", f"{http_url(ports['port'])}/api/v2/config")


NESSIE = Service(
    name="nessie",
    title="Nessie",
    extra="local",
    marker="nessie",
    ports=("port", "management"),
    is_installed=lambda: True,
    prepare=_prepare,
    url=lambda ports: http_url(ports["port"]),
    is_healthy=_is_healthy,
)
