"""The project that a version before 0.1 wrote (`make_before_0_1`), at its original path, with its Nessie and Redis."""

import fcntl
import json
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import redis
from tests.support.make_before_0_1 import PROJECT, STORED

from asgard.cli.app import main
from asgard.common.settings import Settings, load_settings
from asgard.lakehouse.catalog.lake import Lakehouse, catalog_conf
from asgard.local.services import services

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class Before:
    """The project, opened by this version."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lake = Lakehouse.connect(settings)
        self.expected: dict[str, Any] = json.loads((STORED / "expected.json").read_text())

    def run(self, *arguments: str) -> int:
        """Run one command, in this process."""
        where = ("--dir", str(PROJECT), "--set", f"mlflow_tracking_uri={self.settings.mlflow}")
        return main([*arguments, *where])

    def session(self, spark: "SparkSession") -> "SparkSession":
        """Make a session of the test run's Spark that uses this project's catalog, as do sessions made from it."""
        made = spark.newSession()
        for name, value in catalog_conf(self.settings).items():
            if name.startswith("spark.sql.catalog."):
                made.conf.set(name, value)
        made.newSession = lambda: self.session(spark)  # type: ignore[method-assign]
        return made

    def use(self, spark: "SparkSession") -> Lakehouse:
        """Return the project's lakehouse, using such a session."""
        self.lake.__dict__["_spark"] = self.session(spark)
        return self.lake


@contextmanager
def before_0_1() -> Iterator[Before]:
    """Unpack the project for a block, and delete it afterwards; only one test run at a time can use it."""
    with PROJECT.with_name(f"{PROJECT.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(PROJECT, ignore_errors=True)
        PROJECT.mkdir()
        with tarfile.open(STORED / "project.tar.xz") as archive:
            archive.extractall(PROJECT, filter="data")
        settings = load_settings({"project_dir": str(PROJECT)})
        started = services.up(settings, only=["nessie", "redis"])
        try:
            fill(started.urls["redis"])
            mlflow = f"sqlite:///{PROJECT}/mlflow.db"
            yield Before(load_settings({"project_dir": str(PROJECT), "mlflow_tracking_uri": mlflow}))
        finally:
            services.down(settings)
            shutil.rmtree(PROJECT, ignore_errors=True)


def fill(url: str) -> None:
    """Write the stored keys of that version to a Redis."""
    client = redis.Redis.from_url(url)
    keys: dict[str, Any] = json.loads((STORED / "redis.json").read_text())
    for name, value in keys.items():
        key = bytes.fromhex(name)
        if isinstance(value, str):
            client.set(key, bytes.fromhex(value))
        else:
            client.hset(key, mapping={bytes.fromhex(one): bytes.fromhex(each) for one, each in value.items()})
