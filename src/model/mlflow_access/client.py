"""MLflow's client, without what MLflow does to the process that imports it; and its errors in words."""

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
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # with 2, 4 and 8 seconds between: MLflow's own 7 take minutes
}
_ADDRESSES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
_PROBE_SECONDS = 10


def connect(settings: Settings) -> "MlflowClient":
    """A client for the MLflow that is set, which answered.

    MLflow looks `models:/m-...` up at its global addresses, so these are set too; the environment is left as it was.

    Raises:
        SettingsError: no MLflow is set.
        EnvironmentSetupError: MLflow is not installed.
        ServiceUnreachableError: it does not answer.
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
    for name in _ADDRESSES:  # they would outlive these settings, and win over later ones
        if name in before:
            set_for_children(name, before[name])
        else:
            unset_for_children(name)
    with in_words(settings):
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def in_words(settings: Settings) -> Iterator[None]:
    """Turn what MLflow raises into errors of ours.

    Raises:
        ServiceUnreachableError: it did not answer.
        ServiceError: it refused, or failed.
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
        if "disk is full" in reason or "No space left on device" in reason:  # as SQLite and the system say it
            raise ServiceError(
                f"MLflow at {shown} can't write: its disk is full.", hint="Free some space there, then run again."
            ) from error
        raise ServiceError(
            f"MLflow at {shown} failed: {reason.splitlines()[0][:500] if reason else type(error).__name__}",
            hint="Its own log says more; `asgard status` shows the local one's.",
        ) from error


def unreachable(uri: str, reason: str) -> ServiceUnreachableError:
    """The error for an MLflow that does not answer."""
    return ServiceUnreachableError(
        f"MLflow at {redact_url(uri)} does not answer: {reason.splitlines()[0][:300]}",
        hint="Is it running? `asgard status` shows the local services, `asgard settings` which address is meant.",
    )


def is_lost(error: BaseException) -> bool:
    """Whether the other side was not reached, or its answer did not come."""
    import requests

    if isinstance(error, requests.ConnectionError | requests.Timeout):
        return True
    return "Max retries exceeded" in str(error) or "Connection aborted" in str(error) or "timed out" in str(error)


def _import_without_feast() -> None:
    """Import MLflow's HTTP parts without Feast, which asks to be loaded with them.

    Feast's plugin takes seconds, and turns prometheus_client to several processes. It adds a token that MLflow reads
    by itself (`MLFLOW_TRACKING_TOKEN`), or a Kubernetes service account's: set that variable to it where it is needed.
    """
    import mlflow.utils.plugins as plugins

    every = plugins.get_entry_points
    plugins.get_entry_points = lambda group: [each for each in every(group) if not each.value.startswith("feast.")]
    try:
        import mlflow.tracking.request_header.registry  # noqa: F401 - reads the list of plugins once
    finally:
        plugins.get_entry_points = every


def _import_sql_store() -> None:
    """Import MLflow's store on a database, which tells SQLAlchemy something that SQLAlchemy warns of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The ``noload`` loader strategy is deprecated", DeprecationWarning)
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def _reach(uri: str) -> None:
    """Ask once whether anybody is there: MLflow's own client would go on asking."""
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
        return  # MLflow has settings of its own for that
    except requests.RequestException as error:
        raise unreachable(uri, str(error.args[0] if error.args else error)) from error
