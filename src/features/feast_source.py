"""The former path of `asgard.features.feast.source`, which Feast registries and feature_store.yaml files name."""

from asgard.features.feast.source import (
    AtomicRegistryStore,
    SnapshotOfflineStore,
    SnapshotOfflineStoreConfig,
    SnapshotSource,
)

__all__ = ["AtomicRegistryStore", "SnapshotOfflineStore", "SnapshotOfflineStoreConfig", "SnapshotSource"]
