"""Where files are: the locations that Iceberg writes down, as paths of this machine."""


def is_local(location: str) -> bool:
    """Whether a location is a local path, with `file:` before it or without a scheme."""
    return location.startswith(("file:", "/"))


def local_path(location: str) -> str:
    """The path of a local file from Iceberg's location, perhaps with `file:` before it; nothing in it is escaped."""
    return "/" + location.removeprefix("file:").lstrip("/")
