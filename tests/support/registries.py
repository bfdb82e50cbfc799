"""Registries of MLflow without the cost of a migration: an empty database is created once, then copied."""

import shutil
import tempfile
from functools import cache
from pathlib import Path


def empty_registry(folder: Path) -> str:
    """Create a registry with its own database, and return its address."""
    path = folder / "mlflow.db"
    if not path.exists():
        shutil.copyfile(_migrated(), path)
    return f"sqlite:///{path}"


@cache
def _migrated() -> Path:
    from asgard.model.mlflow_access.client import _import_sql_store
    from asgard.model.mlflow_access.mlflow_quiet import import_mlflow

    import_mlflow()
    _import_sql_store()  # as Asgard does it: the first import in a process gives warnings
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    folder = Path(tempfile.mkdtemp(prefix="asgard-tests-mlflow-"))
    SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts"))
    return folder / "mlflow.db"
