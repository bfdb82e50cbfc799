"""MLflow on one machine: its server on SQLite, in one process.

`mlflow server` starts uvicorn as a second process, which takes twice the memory and time. Here uvicorn is started
directly, with the environment variables that `mlflow server` would set (their names are in
`mlflow/server/constants.py`, 3.17).
"""

import importlib.util
import sys
from pathlib import Path

from asgard.common.aliases import Say
from asgard.common.settings import Settings, python_environment
from asgard.local.services.ports import HOST
from asgard.local.services.service import Launch, Ports, Service, answers, http_url


def _prepare(folder: Path, ports: Ports, settings: Settings, say: Say) -> Launch:
    artifacts = folder / "artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    options = {"host": HOST, "port": str(ports["port"]), "workers": "1", "timeout-graceful-shutdown": "5"}
    return Launch(
        (
            *(sys.executable, "-m", "uvicorn", "mlflow.server.fastapi_app:app", "--no-access-log"),
            *(word for name, value in options.items() for word in (f"--{name}", value)),
        ),
        {
            # settings for MLflow's clients may be in our environment, and would confuse the server
            **{k: v for k, v in python_environment().items() if not k.startswith(("MLFLOW_", "_MLFLOW_", "UVICORN_"))},
            "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{(folder / 'mlflow.db').resolve()}",
            "_MLFLOW_SERVER_ARTIFACT_ROOT": artifacts.resolve().as_uri(),
            "_MLFLOW_SGI_NAME": "uvicorn",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        },
    )


def _is_healthy(ports: Ports) -> bool:
    url = http_url(ports["port"])
    return answers(
        f"{url}/health", f"{url}/api/2.0/mlflow/experiments/search?max_results=1"
    )  # the latter queries SQLite


MLFLOW = Service(
    name="mlflow",
    title="MLflow",
    extra="model",
    marker="mlflow.server",
    ports=("port",),
    is_installed=lambda: importlib.util.find_spec("mlflow") is not None,
    prepare=_prepare,
    url=lambda ports: http_url(ports["port"]),
    is_healthy=_is_healthy,
)
