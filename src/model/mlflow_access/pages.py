"""Addresses of MLflow's own pages."""

from urllib.parse import quote, urlsplit


def version_page(uri: str, name: str, version: str) -> str:
    """The page of a registered model's version; "" where MLflow is no server.

    Args:
        uri: of MLflow; who logs in by it is left out.
        name: of the model.
        version: MLflow's own number of it.
    """
    return _page(uri, f"/models/{quote(name, safe='')}/versions/{quote(version, safe='')}")


def run_page(uri: str, experiment: str, run: str) -> str:
    """The page of a run; "" where MLflow is no server."""
    return _page(uri, f"/experiments/{quote(experiment, safe='')}/runs/{quote(run, safe='')}")


def _page(uri: str, place: str) -> str:
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}/#{place}"
