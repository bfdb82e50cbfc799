"""Logs: one line per event on stderr, at the level that is set, without any secret."""

import logging
import sys

from asgard.common.settings import Settings

_ROOT = "asgard"
_secrets: set[str] = set()


class _Redact(logging.Filter):
    """Takes every secret of the settings out of a record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), ()
        return True


def redact(text: str) -> str:
    """A text without any secret of the settings that this process has loaded for its logs."""
    for secret in sorted(_secrets, key=len, reverse=True):  # one may be the beginning of another
        text = text.replace(secret, "***")
    return text


def configure_logging(settings: Settings) -> None:
    """Send the logs of `asgard` to stderr, at `log_level`; called again, the last settings hold."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    handler.addFilter(_Redact())
    _secrets.update(settings.secrets())
    root = logging.getLogger(_ROOT)
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    root.propagate = False


def logger(name: str) -> logging.Logger:
    """The logger of one room, e.g. `nessie`."""
    return logging.getLogger(f"{_ROOT}.{name}")
