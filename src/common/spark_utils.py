"""The one SparkSession factory, and the explanations of Spark's errors."""

import logging
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from asgard.common import errors
from asgard.common.descendants import descendants, end_descendants
from asgard.common.errors import AsgardError, EnvironmentSetupError, RunError, ServiceError
from asgard.common.places import place_of, raised, raised_on_worker
from asgard.common.settings import Secret, Settings, python_environment, set_for_children
from asgard.common.stopping import keeping_handlers, received

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def open_session(
    settings: Settings, application: str, conf: Mapping[str, str], secrets: Mapping[str, Secret]
) -> "SparkSession":
    """The SparkSession of this process, started on the first call.

    Under spark-submit the submitted configuration takes precedence: only options that it does not set are set here.

    Args:
        settings: Java, memory, master and jars.
        application: name shown in Spark's own UI.
        conf: further configuration, e.g. of the catalog.
        secrets: secret configuration; never passed on a command line, which every process of the machine can read.

    Raises:
        EnvironmentSetupError: no suitable Java was found, jars can't be fetched, or the JVM does not start.
    """
    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):  # Asgard explains errors itself
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    submitted = "PYSPARK_GATEWAY_PORT" in python_environment()
    set_for_children("PYSPARK_PYTHON", python_environment().get("PYSPARK_PYTHON", sys.executable))
    if not submitted:
        _choose_java(settings)
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    options = {**_defaults(settings, submitted=submitted), **conf}
    builder = SparkSession.builder.appName(application)
    for key, value in options.items():
        builder = builder.config(key, value)
    try:
        if not submitted:
            _start_java(options)
        with keeping_handlers():
            session = builder.getOrCreate()
    except (PySparkException, RuntimeError, OSError) as error:
        raise EnvironmentSetupError(
            f"Spark did not start: {first_line(error)}",
            hint="`asgard settings` shows which Java and how much memory Spark was given.",
        ) from error
    session.sparkContext.setLogLevel("ERROR" if settings.log_level == "WARNING" else settings.log_level)
    for key, secret in secrets.items():
        session.sparkContext._jsc.sc().conf().set(key, secret.reveal())  # for later sessions
        session.conf.set(key, secret.reveal())
    return session


def _choose_java(settings: Settings) -> None:
    from asgard.common.java import Purpose, find_java

    set_for_children("JAVA_HOME", str(find_java(Purpose.SPARK, settings).home))
    if settings.trust_store:
        set_for_children("JDK_JAVA_OPTIONS", f"-Djavax.net.ssl.trustStore={settings.trust_store}")


def _start_java(options: Mapping[str, str]) -> None:
    """Start the JVM of this process if none runs, and forward its stderr to ours, except one useless line."""
    from pyspark import SparkConf, SparkContext
    from pyspark.java_gateway import launch_gateway

    if SparkContext._gateway is not None:
        return
    others = descendants()
    reading, writing = os.pipe()
    threading.Thread(target=_pass_on, args=(reading,), name="java-stderr", daemon=True).start()
    conf = SparkConf(loadDefaults=False).setAll(list(options.items()))
    try:
        # In its own process group a terminal's Ctrl-C does not reach it, and the group identifies its descendants.
        options_of_process = {"stderr": writing, "start_new_session": True}
        gateway = launch_gateway(conf, options_of_process)  # type: ignore[no-untyped-call, unused-ignore]
    except BaseException:
        end_descendants(0, 2, spare=others)  # it can't report its port any more, and would wait forever
        raise
    finally:
        os.close(writing)
    SparkContext._ensure_initialized(gateway=gateway)


def _pass_on(reading: int) -> None:
    """Forward the JVM's lines to stderr, except its warning at each start about a module that Spark itself requests.

    Once a signal has arrived, nothing is forwarded: the JVM's messages about its own end help nobody.
    """
    with open(reading, "rb") as lines:
        for line in lines:
            if not line.startswith(b"WARNING: Using incubator modules:") and received() is None:
                os.write(2, line)


def spark_jars(settings: Settings) -> list[Path]:
    """The jars that Spark needs for this warehouse; missing ones are fetched."""
    from asgard.common.jars import JarSet, ensure_jars

    wanted = (JarSet.SPARK, JarSet.JDBC, *((JarSet.S3,) if settings.warehouse.startswith("s3:") else ()))
    return ensure_jars(*wanted, settings=settings)


def _defaults(settings: Settings, *, submitted: bool) -> dict[str, str]:
    conf = {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.adaptive.enabled": "true",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.warehouse.dir": (settings.project_dir / "spark-warehouse").resolve().as_uri(),
    }
    if settings.spark_shuffle_partitions:
        conf["spark.sql.shuffle.partitions"] = str(settings.spark_shuffle_partitions)
    if settings.spark_master:
        conf["spark.master"] = settings.spark_master
    if submitted:
        return conf
    jars = spark_jars(settings)
    with resources.as_file(resources.files("asgard.common") / "log4j2.properties") as log4j:
        logging_option = f"-Dlog4j2.configurationFile={Path(log4j).as_uri()}"
    conf.setdefault("spark.master", "local[*]")
    if conf["spark.master"].startswith("local"):
        conf.setdefault("spark.sql.shuffle.partitions", "8")
        conf |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", "spark.ui.enabled": "false"}
    return conf | {
        "spark.jars": ",".join(map(str, jars)),
        "spark.driver.memory": settings.spark_driver_memory,
        "spark.driver.extraJavaOptions": logging_option,
    }


_MEANINGS: tuple[tuple[str, type[AsgardError], str, str], ...] = (
    (
        r"No space left on device",
        EnvironmentSetupError,
        "The disk is full: the write was aborted.",
        "Free some space, then run again with the same run id.",
    ),
    (
        r"(Invalid (update|snapshot) timestamp \d+: before|Expected sorted (snapshot|previous metadata) log entries)",
        EnvironmentSetupError,
        "The clock of this machine is behind the table's last change, so Iceberg refused the write.",
        "Correct the clock, then run again with the same run id.",
    ),
    (
        r"(PSQLException|com\.mysql\.cj)",
        ServiceError,
        "The database stopped answering, or refused the request.",
        "Read the database's log, then run again with the same run id.",
    ),
    (
        r"(HttpClientException|NessieServiceException|Failed to execute \w+ request against)",
        RunError,
        "Nessie stopped answering while Spark was working.",
        "`asgard status` shows the local services; when Nessie is up, run again with the same run id.",
    ),
    (
        r"(?m)^.*(?:Connection refused|ConnectException).*$",
        ServiceError,
        "A connection was refused: {found}",
        "Check that the service at that address is up, then run again with the same run id.",
    ),
    (
        r"Python worker exited unexpectedly",
        RunError,
        "A Python worker ended before it had processed its rows, and so did the worker of each retry.",
        "Usually it had too little memory, or a library crashed; a cluster's log says which signal ended it.",
    ),
    (
        r"(OutOfMemoryError|Java heap space|GC overhead limit)",
        EnvironmentSetupError,
        "Spark ran out of memory.",
        "Give it more: spark_driver_memory (ASGARD_SPARK_DRIVER_MEMORY=4g), or compute fewer intervals a run.",
    ),
)


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn any error of the block into an `AsgardError`, as `explain` does.

    Raises:
        AsgardError: the block raised any error.
    """
    try:
        yield
    except AsgardError:
        raise
    except Exception as error:
        raise explain(error, what) from error


def explain(error: BaseException, what: str) -> AsgardError:
    """Turn an error into an `AsgardError` without a stack trace: what failed, where in the user's code, what to do.

    Args:
        error: raised by pyspark, py4j or the user's own code.
        what: the action that failed, e.g. "Writing silver.orders".
    """
    text = str(error)
    own = _raised_on_worker(text)
    if own is not None:
        return own
    in_user_code = raised_on_worker(text)
    if in_user_code is None and not _is_sparks(error):
        in_user_code = raised(error)
    for pattern, kind, meaning, hint in _MEANINGS:
        match = re.search(pattern, text)
        if match and (in_user_code is None or in_user_code.place is None):
            return kind(f"{what}: {meaning.replace('{found}', _without_class(match[0]))}", hint=hint)
    if in_user_code is not None:
        return RunError(f"{what} failed: {in_user_code}.", hint="Look at that line, and at the data that it reads.")
    place = place_of(error) or _called_from(text)
    return RunError(
        f"{what} failed: {first_line(error)}{f' ({place})' if place else ''}",
        hint="Look at that line, and at the columns of the data that it reads."
        if place
        else "Look at the function, and at the data that it reads.",
    )


def _is_sparks(error: BaseException) -> bool:
    from py4j.protocol import Py4JError  # type: ignore[import-untyped, unused-ignore]
    from pyspark.errors import PySparkException

    return isinstance(error, PySparkException | Py4JError)


def _called_from(text: str) -> str:
    """The line that Spark itself names: the call that created a column."""
    match = re.search(r"was called from\s*\n(.+):(\d+)\s*$", text, re.MULTILINE)
    return f"{match[1]}, line {match[2]}" if match else ""


def _raised_on_worker(text: str) -> AsgardError | None:
    """The `AsgardError` that a Python worker raised, which Spark passes on as the text of a traceback."""
    match = re.search(r"^asgard\.common\.errors\.(\w+): (.+)\n(?:hint: (.+))?", text, re.MULTILINE)
    kind = getattr(errors, match[1], None) if match else None
    if match is None or not (isinstance(kind, type) and issubclass(kind, AsgardError)):
        return None
    return kind(match[2], hint=match[3] or "")


def first_line(error: BaseException) -> str:
    """The message of an error, without Java's stack trace."""
    from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped, unused-ignore]

    text = str(error.java_exception.toString()) if isinstance(error, Py4JJavaError) else str(error)
    lines = [
        line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("at ", "JVM"))
    ]
    best = re.sub(r"\s*SQLSTATE: \w+.*$", "", lines[0]) if lines else type(error).__name__
    if "Job aborted" in best or "Task failed" in best or "stage failure" in best:
        causes = re.findall(r"(?:Caused by: |: )((?:[\w$.]+(?:Exception|Error)): .+)", text)
        best = causes[-1].strip() if causes else best
    return _without_class(best)


def _without_class(line: str) -> str:
    """A line of Java's output without the package names of the exception at its beginning."""
    return re.sub(r"^(?:Caused by: |: )?(?:[a-z]\w*\.)+([A-Z]\w*(?:Exception|Error))", r"\1", line.strip())[:600]
