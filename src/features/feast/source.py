"""Feast's access to a pinned table: a data source for one published snapshot, and its offline store.

Feast restores the source from its registry by this module's name, and reads exactly the snapshot's Parquet files. Its
SDK, CLI and UI need nothing else. The join follows Asgard's rules (`asgard.features.joins.duck`).
"""

import json
import os
import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_ID
from feast.feature_view import FeatureView as FeastView
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.infra.registry.base_registry import BaseRegistry
from feast.infra.registry.file import FileRegistryStore
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.protos.feast.core.DataSource_pb2 import DataSource as DataSourceProto
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.saved_dataset import SavedDatasetStorage
from feast.value_type import ValueType

from asgard.common.data_type import DataType
from asgard.common.errors import UsageError
from asgard.common.names import CommitHash, SnapshotId
from asgard.common.settings import Settings, load_settings
from asgard.features.joins import duck
from asgard.features.joins.duck import TIME, quoted, text
from asgard.features.joins.labels import prepare, require_distinct
from asgard.features.pinned import PinnedTable, PinnedView, RowFacts
from asgard.features.views import FeatureView
from asgard.lakehouse.catalog.snapshots import At

_VALUE_TYPES = {
    "boolean": ValueType.BOOL,
    "int": ValueType.INT32,
    "bigint": ValueType.INT64,
    "float": ValueType.FLOAT,
    "double": ValueType.DOUBLE,
    "string": ValueType.STRING,
    "binary": ValueType.BYTES,
    "date": ValueType.UNIX_TIMESTAMP,
    "timestamp": ValueType.UNIX_TIMESTAMP,
    "timestamp_ntz": ValueType.UNIX_TIMESTAMP,
    "decimal": ValueType.DECIMAL,
}
_ROW = "row_of_entity_df"


def value_type(kind: str) -> ValueType:
    """Feast's type for a column's Spark SQL type.

    Raises:
        KeyError: Feast has no such type.
    """
    return _value_type(DataType.parse(kind))


def _value_type(kind: DataType) -> ValueType:
    if kind.element is not None:
        return ValueType[f"{_value_type(kind.element).name}_LIST"]
    return _VALUE_TYPES[kind.base]


class SnapshotSource(DataSource):
    """One view's table at one published snapshot.

    Args:
        name: of the source, e.g. `gold.customer_metrics`.
        options: of a registration: view, target, commit, metadata_location, snapshot_id, facts.
    """

    def __init__(self, *, name: str, options: dict[str, Any], **given: Any) -> None:
        self.options = options
        view = FeatureView.from_json(options["view"])
        super().__init__(
            name=name,
            timestamp_field=view.event_timestamp,
            created_timestamp_column=view.created_timestamp or "",
            **given,
        )

    def source_type(self) -> "DataSourceProto.SourceType.ValueType":
        """Feast's type for custom sources."""
        return DataSourceProto.CUSTOM_SOURCE

    def __hash__(self) -> int:
        return hash((self.name, self.options["snapshot_id"]))

    def __eq__(self, other: object) -> bool:
        """Sources with different snapshots differ: otherwise Feast would keep the old one."""
        same = isinstance(other, SnapshotSource) and super().__eq__(other)  # type: ignore[no-untyped-call]
        return bool(same) and self.options == other.options  # type: ignore[attr-defined]

    def _to_proto_impl(self) -> DataSourceProto:
        return DataSourceProto(
            name=self.name,
            type=DataSourceProto.CUSTOM_SOURCE,
            data_source_class_type=f"{type(self).__module__}.{type(self).__qualname__}",
            timestamp_field=self.timestamp_field,
            created_timestamp_column=self.created_timestamp_column,
            description=self.description,
            tags=self.tags,
            owner=self.owner,
            custom_options=DataSourceProto.CustomSourceOptions(
                configuration=json.dumps(self.options, sort_keys=True).encode()
            ),
        )

    @staticmethod
    def from_proto(data_source: DataSourceProto) -> "SnapshotSource":
        """Restore it from Feast's registry."""
        return SnapshotSource(
            name=data_source.name,
            options=json.loads(data_source.custom_options.configuration),
            description=data_source.description,
            tags=dict(data_source.tags),
            owner=data_source.owner,
        )

    def validate(self, config: RepoConfig) -> None:
        """Read the metadata: the snapshot must exist, and it must have no delete files."""
        _ = self.pinned(settings_of(config)).table.files

    @staticmethod
    def source_datatype_to_feast_value_type() -> Callable[[str], ValueType]:
        """Feast's type of each column's type."""
        return value_type

    def get_table_column_names_and_types(self, config: RepoConfig) -> Iterable[tuple[str, str]]:
        """The table's columns."""
        columns = self.pinned(settings_of(config)).table.columns
        return [(column.name, column.type) for column in columns.values()]

    def get_table_query_string(self) -> str:
        """The table and its snapshot, as people would write it."""
        return f"{self.name} FOR VERSION AS OF {self.options['snapshot_id']}"

    def pinned(self, settings: Settings) -> PinnedView:
        """The view at its snapshot.

        Raises:
            UsageError: the snapshot was collected.
            ServiceError: its metadata can't be read.
        """
        view = FeatureView.from_json(self.options["view"])
        at = At(self.options["target"], CommitHash(self.options["commit"]))
        location, snapshot = self.options["metadata_location"], SnapshotId(int(self.options["snapshot_id"]))
        table = PinnedTable.of(settings, view.table, at, location, snapshot)
        facts = RowFacts(**self.options["facts"]) if self.options["facts"] else None
        return PinnedView(view, table, facts)


class AtomicRegistryStore(FileRegistryStore):
    """The registry file, written atomically: with Feast's own store, a reader may see an empty file for a moment."""

    def _write_registry(self, registry_proto: Any) -> None:
        registry_proto.version_id = str(uuid.uuid4())
        registry_proto.last_updated.FromDatetime(datetime.now(UTC))
        self._filepath.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._filepath.with_name(f".{self._filepath.name}.{uuid.uuid4().hex}")
        with temporary.open("wb") as file:
            file.write(registry_proto.SerializeToString())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._filepath)


class SnapshotOfflineStoreConfig(FeastConfigBaseModel):
    """The offline store's section of feature_store.yaml; Feast finds this class by the store's name.

    Attributes:
        project_dir: Asgard's project folder; None: from the environment, as for `asgard` itself.
    """

    type: Literal[
        "asgard.features.feast.source.SnapshotOfflineStore", "asgard.features.feast_source.SnapshotOfflineStore"
    ] = "asgard.features.feast.source.SnapshotOfflineStore"
    project_dir: str | None = None


def settings_of(config: RepoConfig) -> Settings:
    """Asgard's settings, for the warehouse that a Feast repository's store reads."""
    return load_settings({"project_dir": getattr(config.offline_store, "project_dir", None)})


class SnapshotJob(RetrievalJob):
    """A query that runs when its result is asked for."""

    def __init__(
        self,
        run: Callable[[], pa.Table],
        *,
        full_feature_names: bool = False,
        on_demand: "list[OnDemandFeatureView] | None" = None,
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._run, self._full, self._on_demand, self._metadata = run, full_feature_names, on_demand or [], metadata

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._run()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = self._run().to_pandas()
        return frame

    @property
    def full_feature_names(self) -> bool:
        """Whether features are named `view__feature`."""
        return self._full

    @property
    def on_demand_feature_views(self) -> "list[OnDemandFeatureView]":
        """The on-demand feature views that Feast computes over the result."""
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """What was requested."""
        return self._metadata

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the result as a Parquet file."""
        import pyarrow.parquet as pq

        if not isinstance(storage, SavedDatasetFileStorage):
            raise UsageError("Only a SavedDatasetFileStorage is supported.", hint="Give a path of a Parquet file.")
        pq.write_table(self.to_arrow(), storage.file_options.uri)


class SnapshotOfflineStore(OfflineStore):
    """Reads exactly the snapshots that feature views are registered at."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeastView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        **_given: Any,
    ) -> RetrievalJob:
        """The features that were known at each row's time; rows keep their order.

        Raises:
            UsageError: entity columns or times do not fit.
        """
        if not isinstance(entity_df, pd.DataFrame):
            raise UsageError("entity_df must be a pandas DataFrame.", hint="Read the labels into one.")
        settings = settings_of(config)
        time = infer_event_timestamp_from_entity_df(dict(zip(entity_df.columns, entity_df.dtypes, strict=True)))
        views, names = [], []
        for each in feature_views:
            called = each.projection.name_to_use()  # type: ignore[no-untyped-call]
            asked = [ref.partition(":")[2] for ref in feature_refs if ref.partition(":")[0] == called]
            pinned = _of_ours(each.batch_source).pinned(settings)
            views.append(replace(pinned, aliases=dict(each.projection.join_key_map)))
            names.append([(name, f"{called}__{name}" if full_feature_names else name) for name in asked])

        def run() -> pa.Table:
            with duck.connect(settings) as connection:
                rows = pa.Table.from_pandas(entity_df, preserve_index=False)
                connection.register("given", rows.append_column(_ROW, pa.array(range(len(rows)), pa.int64())))
                labels, columns = prepare(connection, "given", "entity_df", time, views)
                require_distinct([*entity_df.columns, *(column for pairs in names for _, column in pairs)])
                sql = duck.join_sql(
                    lambda table, wanted: duck.rows_of(connection, table, wanted),
                    labels,
                    (*(name for name in columns if name not in (_ROW, time)), TIME, _ROW),
                    views,
                    names,
                )
                chosen = [quoted(name) for name in columns if name not in (_ROW, time)]
                chosen.insert(list(columns).index(time), f"make_timestamptz({TIME}) AS {quoted(time)}")
                chosen += [quoted(column) for pairs in names for _, column in pairs]
                found = connection.sql(f"SELECT {', '.join(chosen)} FROM ({sql}) ORDER BY {_ROW}")
                return found.to_arrow_table()

        times = pd.to_datetime(entity_df[time], utc=True)
        metadata = RetrievalMetadata(
            features=feature_refs,
            keys=[name for name in entity_df.columns if name != time],
            min_event_timestamp=times.min().to_pydatetime(),
            max_event_timestamp=times.max().to_pydatetime(),
        )
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        return SnapshotJob(run, full_feature_names=full_feature_names, on_demand=on_demand, metadata=metadata)

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """For each entity the row that counts between two moments, both included; ties as in a training set."""
        return _pull(config, data_source, join_key_columns, feature_name_columns, (start_date, end_date), latest=True)

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """All rows that can count between two moments, both included."""
        return _pull(config, data_source, join_key_columns, feature_name_columns, (start_date, end_date), latest=False)

    @staticmethod
    def offline_write_batch(
        config: RepoConfig, feature_view: FeastView, table: pa.Table, progress: Callable[[int], Any] | None
    ) -> None:
        """Refuse to write: a published snapshot never changes."""
        raise UsageError("Feast can't write to a published snapshot.", hint="Publish rows through a run.")


def _pull(
    config: RepoConfig,
    given: DataSource,
    keys: list[str],
    features: list[str],
    window: tuple[datetime | None, datetime | None],
    *,
    latest: bool,
) -> RetrievalJob:
    settings = settings_of(config)
    pinned = _of_ours(given).pinned(settings)
    view = pinned.view
    own = [key for key in keys if key != DUMMY_ENTITY_ID]
    columns = tuple(dict.fromkeys((*own, *features, *view.time_columns)))
    conditions = [duck.is_usable(view)]
    conditions += [
        f"{quoted(view.event_timestamp)} {sign} {text(_utc(moment).isoformat())}::TIMESTAMPTZ"
        for sign, moment in ((">=", window[0]), ("<=", window[1]))
        if moment is not None
    ]
    ties = duck.tie_order(view)
    ranked = (*map(quoted, view.time_columns), *ties.values())
    order = ", ".join(f"{each} DESC NULLS LAST" for each in ranked)
    newest = f"QUALIFY row_number() OVER (PARTITION BY {', '.join(map(quoted, own))} ORDER BY {order}) = 1"

    def run() -> pa.Table:
        with duck.connect(settings) as connection:
            rows = duck.rows_of(connection, pinned.table, tuple(dict.fromkeys((*columns, *view.keys, *ties))))
            sql = f"SELECT {', '.join(map(quoted, columns))} FROM {rows} WHERE {' AND '.join(conditions)}"
            return connection.sql(f"{sql} {newest if latest else ''}").to_arrow_table().combine_chunks()

    return SnapshotJob(run)


def _of_ours(source: DataSource | None) -> SnapshotSource:
    if not isinstance(source, SnapshotSource):
        raise UsageError(
            f"{source.name if source else 'The view'} is not a published snapshot.",
            hint="Register it by `asgard features`.",
        )
    return source


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
