"""Logs: one line per event on stderr, at the level of the settings, without secrets."""

import logging
import sys

from asgard.common.settings import Settings

_ROOT = "asgard"
_secrets: set[str] = set()


class _Redact(logging.Filter):
    """Removes every secret of the settings from a record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), ()
        return True


def redact(text: str) -> str:
    """Replace, in a text, every secret of the settings that this process configured its logs with."""
    for secret in sorted(_secrets, key=len, reverse=True):  # one secret may be the beginning of another
        text = text.replace(secret, "***")
    return text


def configure_logging(settings: Settings) -> None:
    """Send the logs of `asgard` to stderr, at `log_level`; the latest call's settings apply."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    handler.addFilter(_Redact())
    _secrets.update(settings.secrets())
    root = logging.getLogger(_ROOT)
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    root.propagate = False


def logger(name: str) -> logging.Logger:
    """The logger of one part of Asgard, e.g. `nessie`."""
    return logging.getLogger(f"{_ROOT}.{name}")
