"""One Spark session and one set of real services for the whole test run."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import prometheus_client.values  # noqa: F401 - decides by the environment, once: so before Feast changes that
import pytest
from tests.support.java_options import set_java_options
from tests.support.mariadb import MariaDB, running_mariadb
from tests.support.online_worker import Syncs, sync_processes
from tests.support.postgres import Postgres, running_postgres
from tests.support.s3 import Bucket, serving

from asgard.common.names import TableName
from asgard.common.settings import Settings, load_settings
from asgard.lakehouse.catalog.lake import Lakehouse

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytest_plugins = ["tests.support.suite", "tests.support.examples"]

for variable in [name for name in os.environ if name.startswith(("ASGARD_", "NESSIE_", "AWS_", "REDIS_", "MLFLOW_"))]:
    if variable not in ("ASGARD_CACHE_DIR", "ASGARD_TRUST_STORE", "ASGARD_JAVA_HOME", "ASGARD_MAVEN_REPOSITORY"):
        del os.environ[variable]  # the tests' settings are their own
set_java_options()


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A project folder with Nessie and Redis running; stopped at the end of the test run."""
    from asgard.local.services import services

    settings = load_settings({"project_dir": str(tmp_path_factory.mktemp("project"))})
    services.up(settings, only=["nessie", "redis"])
    try:
        yield load_settings({"project_dir": str(settings.project_dir)})
    finally:
        services.down(settings)


@pytest.fixture(scope="session")
def lake(project: Settings) -> Lakehouse:
    """The lakehouse of the project, with the one Spark session of the test run."""
    return Lakehouse.connect(project, "asgard tests")


@pytest.fixture(scope="session")
def spark(lake: Lakehouse) -> "SparkSession":
    """The one Spark session of the test run."""
    return lake.spark


@pytest.fixture
def fresh() -> "Fresh":
    """Names that no other test uses."""
    return Fresh()


class Fresh:
    """Makes names that no other test uses."""

    def table(self, layer: str = "silver") -> TableName:
        """A table name."""
        return TableName(layer, f"t_{secrets.token_hex(4)}")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of the test run's own, which asks for a password."""
    with running_postgres() as found:
        yield found


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """A MariaDB of the test run's own: it stands in for MySQL."""
    with running_mariadb(load_settings()) as found:
        yield found


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An S3 bucket of the test's own, with nothing in it; its keys are in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    with serving() as served:
        yield served


@pytest.fixture(scope="session")
def repository_root() -> Path:
    """The checkout's folder."""
    return Path(__file__).parent.parent


@pytest.fixture(scope="session")
def syncs(lake: Lakehouse, repository_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Syncs]:
    """Syncs in processes of their own."""
    with sync_processes(repository_root, lake.settings.project_dir, tmp_path_factory.mktemp("syncs")) as found:
        yield found
