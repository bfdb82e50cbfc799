"""The former path of `asgard.features.feast.repository`, which Feast repositories import."""

from asgard.features.feast.repository import registered

__all__ = ["registered"]
