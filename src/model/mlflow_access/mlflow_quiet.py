"""Import MLflow without side effects on this process."""

import warnings
from typing import Any

from asgard.common.settings import set_for_children

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def import_mlflow() -> Any:
    """Import MLflow with its pyfunc: no telemetry, no progress bars on stderr, no addresses on stdout."""
    for name, value in QUIET.items():
        set_for_children(name, value)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*[Tt]ype hint", category=UserWarning)
        import mlflow
        import mlflow.pyfunc
    return mlflow
