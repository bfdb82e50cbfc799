"""URLs of MLflow's pages."""

from urllib.parse import quote, urlsplit


def version_page(uri: str, name: str, version: str) -> str:
    """The URL of a model version's page; "" if MLflow is not a server.

    Args:
        uri: URI of MLflow; user and password in it are left out.
        name: name of the model.
        version: MLflow's number of the version.
    """
    return _page(uri, f"/models/{quote(name, safe='')}/versions/{quote(version, safe='')}")


def run_page(uri: str, experiment: str, run: str) -> str:
    """The URL of a run's page; "" if MLflow is not a server."""
    return _page(uri, f"/experiments/{quote(experiment, safe='')}/runs/{quote(run, safe='')}")


def _page(uri: str, place: str) -> str:
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}/#{place}"
