"""Logs: one line per event on stderr, at the level that is set, without any secret."""

import logging
import sys

from asgard.common.settings import Settings

_ROOT = "asgard"


class _Redact(logging.Filter):
    """Takes every secret of the settings out of a record."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        super().__init__()
        self._secrets = secrets

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        for secret in self._secrets:
            text = text.replace(secret, "***")
        record.msg, record.args = text, ()
        return True


def configure_logging(settings: Settings) -> None:
    """Send the logs of `asgard` to stderr, at `log_level`; called again, the last settings hold."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    handler.addFilter(_Redact(settings.secrets()))
    root = logging.getLogger(_ROOT)
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    root.propagate = False


def logger(name: str) -> logging.Logger:
    """The logger of one room, e.g. `nessie`."""
    return logging.getLogger(f"{_ROOT}.{name}")
