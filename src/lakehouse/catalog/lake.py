"""One lakehouse: a Nessie repository, a warehouse, and the Spark session that reads and writes both."""

import json
import threading
from functools import cached_property
from typing import TYPE_CHECKING

from asgard.common.errors import UnknownTableError, WarehouseMismatchError
from asgard.common.logging import configure_logging
from asgard.common.names import BranchName, TableName
from asgard.common.settings import Secret, Settings, set_for_children
from asgard.common.spark_utils import open_session
from asgard.common.storage import Storage
from asgard.lakehouse.catalog.nessie import Content, Nessie

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

CATALOG = "lake"
"""The name of the one Spark catalog."""
_MARKER = "nessie.json"


class Lakehouse:
    """One lakehouse: Nessie, storage and Spark, which starts when it is first needed.

    Args:
        settings: which Nessie, warehouse and target ref.
        application: name of this process in Spark.
    """

    def __init__(self, settings: Settings, application: str = "asgard") -> None:
        self.settings = settings
        self.target = BranchName(settings.nessie_ref)
        self.nessie = Nessie.of(settings)
        self._application = application
        self._spark_lock = threading.Lock()

    @classmethod
    def connect(cls, settings: Settings, application: str = "asgard") -> "Lakehouse":
        """Make a lakehouse and `reach` it; raises what `reach` raises."""
        lake = cls(settings, application)
        lake.reach()
        return lake

    def reach(self) -> None:
        """Set up the logs, connect to Nessie, and check that this warehouse belongs to it.

        Raises:
            ServiceUnreachableError: Nessie does not answer.
            WarehouseMismatchError: another Nessie repository made this warehouse.
        """
        configure_logging(self.settings)
        repository = self.nessie.repository()
        mine = {"repository_created": repository.created}
        marker = self.storage.read_json(_MARKER)
        if marker is None and not self.storage.create(_MARKER, json.dumps(mine).encode()):
            marker = self.storage.read_json(_MARKER)
        if marker is not None and marker != mine:
            raise WarehouseMismatchError(
                f"The warehouse {self.settings.warehouse} was made by a Nessie repository created at "
                f"{marker.get('repository_created')}; the one at {self.nessie.uri} was created at "
                f"{repository.created}.",
                hint="Start the Nessie that made it (an in-memory one loses everything when it stops), or use another "
                f"warehouse. If this warehouse was moved on purpose, remove _asgard/{_MARKER} from the warehouse.",
            )

    @cached_property
    def storage(self) -> Storage:
        """Asgard's own files in the warehouse."""
        return Storage.of(self.settings)

    @property
    def spark(self) -> "SparkSession":
        """The Spark session of this process, with the catalog configured."""
        with self._spark_lock:
            return self._spark

    @cached_property
    def _spark(self) -> "SparkSession":
        hand_over_credentials(self.settings)
        return open_session(
            self.settings, self._application, catalog_conf(self.settings), catalog_secrets(self.settings)
        )

    def frame(self, table: TableName, ref: str, session: "SparkSession | None" = None) -> "DataFrame":
        """The rows of a table at a branch or tag.

        Raises:
            UnknownTableError: the table doesn't exist there.
        """
        if self.nessie.content(ref, table) is None:
            raise self.unknown(table, ref)
        return (session or self.spark).table(identifier(table, ref))

    def content(self, table: TableName, ref: str) -> Content:
        """Nessie's content of a table at a ref (`name` or `name@hash`).

        Raises:
            UnknownTableError: the table doesn't exist there.
        """
        content = self.nessie.content(ref, table)
        if content is None or not content.is_table:
            raise self.unknown(table, ref, content)
        return content

    def unknown(self, table: TableName, ref: str, other: Content | None = None) -> UnknownTableError:
        """The error for a missing table, with the existing ones; `other` is content of another kind with its name."""
        tables = ", ".join(sorted(map(str, self.nessie.entries(ref)))) or "no table yet"
        name, at, commit = ref.partition("@")
        what = f"There is no table {table} on {name}{at}{commit[:12]}."
        if other is not None:
            what = f"{what[:-1]}: the content of that name is of another kind ({other.kind_in_words})."
        return UnknownTableError(what, hint=f"Tables there: {tables}.")


def catalog_conf(settings: Settings) -> dict[str, str]:
    """Spark's configuration for the one catalog.

    One catalog serves every branch: a table on a branch is addressed as ``ns.`table@branch` ``.
    """
    prefix = f"spark.sql.catalog.{CATALOG}"
    conf = {
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        prefix: "org.apache.iceberg.spark.SparkCatalog",
        f"{prefix}.catalog-impl": "org.apache.iceberg.nessie.NessieCatalog",
        f"{prefix}.uri": f"{settings.nessie}/api/v2",
        f"{prefix}.ref": settings.nessie_ref,
        f"{prefix}.warehouse": settings.warehouse,
        f"{prefix}.client-api-version": "2",
        f"{prefix}.cache-enabled": "false",
    }
    if settings.nessie_token is not None:
        conf[f"{prefix}.authentication.type"] = "BEARER"
    if settings.warehouse.startswith("s3:"):
        conf[f"{prefix}.io-impl"] = "org.apache.iceberg.aws.s3.S3FileIO"
        if settings.s3_endpoint:
            conf[f"{prefix}.s3.endpoint"] = settings.s3_endpoint
            conf[f"{prefix}.s3.path-style-access"] = "true"
    return conf


def catalog_secrets(settings: Settings) -> dict[str, Secret]:
    """The secret part of the catalog's configuration."""
    token = settings.nessie_token
    return {f"spark.sql.catalog.{CATALOG}.authentication.token": token} if token is not None else {}


def identifier(table: TableName, ref: str) -> str:
    """How Spark SQL names a table at a branch or tag; both names are already validated."""
    return f"{CATALOG}.{table.layer}.`{table.name}@{ref}`"


def hand_over_credentials(settings: Settings) -> None:
    """Pass S3 credentials to Spark's JVM in its environment: Spark's configuration would show them."""
    for name, secret in (
        ("AWS_ACCESS_KEY_ID", settings.aws_access_key_id),
        ("AWS_SECRET_ACCESS_KEY", settings.aws_secret_access_key),
        ("AWS_SESSION_TOKEN", settings.aws_session_token),
    ):
        if secret is not None:
            set_for_children(name, secret.reveal())
    if settings.aws_region:
        set_for_children("AWS_REGION", settings.aws_region)
