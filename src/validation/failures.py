"""Spark's errors in one line that a person can use, without stack trace and query plan."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from asgard.common.errors import AsgardError
from asgard.common.places import raised, raised_on_worker

MAX_ERROR = 500
_SPARK_ERROR = re.compile(r"\[[A-Z0-9_]+(?:\.[A-Z0-9_]+)*\] [^\n]+")
_SQLSTATE = re.compile(r"\s*SQLSTATE: .*$")


def one_line(error: Exception) -> str:
    """An error in one line: Spark's error class and message, or a Python error's type, text and the user's line."""
    if isinstance(error, AsgardError):
        return f"{error.message} {error.hint}".strip()
    text = str(error)
    spark = _SPARK_ERROR.search(text)
    python = raised_on_worker(text)
    if python is not None:
        line = str(python)
    elif spark:
        line = _SQLSTATE.sub("", spark[0])
    else:
        line = str(raised(error))
    return line if len(line) <= MAX_ERROR else line[: MAX_ERROR - 1] + "…"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep PySpark from printing, as JSON on stderr, errors that are handled here."""
    from pyspark.logger import PySparkLogger

    # PySpark's own getLogger: the first call decides the logger's class, and PySpark needs its own class.
    loggers = [PySparkLogger.getLogger(f"{kind}QueryContextLogger") for kind in ("SQL", "DataFrame")]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled
