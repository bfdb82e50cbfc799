"""MLflow's client without the side effects of importing MLflow; and MLflow's errors as Asgard's."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from asgard.common.errors import EnvironmentSetupError, ServiceError, ServiceUnreachableError, installing
from asgard.common.logging import configure_logging
from asgard.common.settings import (
    Settings,
    python_environment,
    redact_url,
    set_for_children,
    set_unless_given,
    unset_for_children,
)
from asgard.model.mlflow_access.mlflow_quiet import QUIET

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_QUIET = {
    **QUIET,
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # after 2, 4 and 8 seconds: MLflow's default of 7 retries takes minutes
}
_ADDRESSES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
_PROBE_SECONDS = 10


def connect(settings: Settings) -> "MlflowClient":
    """Connect to the MLflow server of the settings, and verify that it answers.

    MLflow looks `models:/m-...` up at its global addresses, so these are set too; the environment stays unchanged.

    Raises:
        SettingsError: the settings name no MLflow.
        EnvironmentSetupError: MLflow is not installed.
        ServiceUnreachableError: MLflow does not answer.
    """
    uri = settings.mlflow
    configure_logging(settings)
    for name, value in _QUIET.items():
        set_unless_given(name, value)
    try:
        _import_without_feast()
    except ImportError as error:
        raise EnvironmentSetupError("Models need MLflow.", hint=installing("model")) from error
    import mlflow
    from mlflow.tracking import MlflowClient

    _reach(uri)
    before = python_environment()
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    for name in _ADDRESSES:  # they would outlive these settings and override later ones
        if name in before:
            set_for_children(name, before[name])
        else:
            unset_for_children(name)
    with in_words(settings):
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def in_words(settings: Settings) -> Iterator[None]:
    """Turn MLflow's exceptions into Asgard's errors.

    Raises:
        ServiceUnreachableError: MLflow did not answer.
        ServiceError: MLflow refused, or failed.
    """
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, requests.RequestException, SQLAlchemyError) as error:
        shown = redact_url(settings.mlflow)
        reason = str(error).replace(settings.mlflow, shown)
        if is_lost(error):
            raise unreachable(settings.mlflow, reason) from error
        if "disk is full" in reason or "No space left on device" in reason:  # the messages of SQLite and of the system
            raise ServiceError(
                f"MLflow at {shown} can't write: its disk is full.", hint="Free some space there, then run again."
            ) from error
        raise ServiceError(
            f"MLflow at {shown} failed: {reason.splitlines()[0][:500] if reason else type(error).__name__}",
            hint="MLflow's log says more; `asgard status` shows the local one's.",
        ) from error


def unreachable(uri: str, reason: str) -> ServiceUnreachableError:
    """The error for an MLflow that does not answer."""
    return ServiceUnreachableError(
        f"MLflow at {redact_url(uri)} does not answer: {reason.splitlines()[0][:300]}",
        hint="Is it running? `asgard status` shows the local services, `asgard settings` the address.",
    )


def is_lost(error: BaseException) -> bool:
    """Whether the server was not reached, or its answer was lost."""
    import requests

    if isinstance(error, requests.ConnectionError | requests.Timeout):
        return True
    return "Max retries exceeded" in str(error) or "Connection aborted" in str(error) or "timed out" in str(error)


def _import_without_feast() -> None:
    """Import MLflow's HTTP parts without Feast, which registers itself as their plugin.

    Feast's plugin takes seconds to load, and switches prometheus_client to multiprocess mode. It adds a token: the one
    that MLflow reads itself (`MLFLOW_TRACKING_TOKEN`), or a Kubernetes service account's. If the latter is needed, set
    `MLFLOW_TRACKING_TOKEN` to it.
    """
    import mlflow.utils.plugins as plugins

    every = plugins.get_entry_points
    plugins.get_entry_points = lambda group: [each for each in every(group) if not each.value.startswith("feast.")]
    try:
        import mlflow.tracking.request_header.registry  # noqa: F401 - reads the list of plugins once
    finally:
        plugins.get_entry_points = every


def _import_sql_store() -> None:
    """Import MLflow's database store, without the deprecation warning of SQLAlchemy that the import causes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The ``noload`` loader strategy is deprecated", DeprecationWarning)
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def _reach(uri: str) -> None:
    """Connect once to see whether a server answers: MLflow's own client would retry."""
    if uri.startswith("sqlite:"):
        _import_sql_store()
        folder = Path(uri.removeprefix("sqlite:///").partition("?")[0]).resolve().parent
        if not folder.is_dir():
            raise unreachable(uri, f"there is no folder {folder}")
        set_for_children("_MLFLOW_SERVER_ARTIFACT_ROOT", (folder / "artifacts").as_uri())  # else ./mlruns
        return
    if not uri.startswith("http"):
        return
    import requests

    try:
        requests.get(uri, timeout=_PROBE_SECONDS, stream=True).close()
    except requests.exceptions.SSLError:
        return  # MLflow has its own settings for that
    except requests.RequestException as error:
        raise unreachable(uri, str(error.args[0] if error.args else error)) from error
