"""Java options for Spark in the tests, which reduce CPU time to a third: most JVMs live only for seconds.

`python -m tests.support.java_options` writes an archive of the classes that every Spark session loads, so that later
JVMs map it instead of reading and verifying those classes (class data sharing, JEP 350). The second compiler is turned
off: no test runs long enough to profit from it.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from asgard.common.errors import AsgardError
from asgard.common.java import Purpose, find_java
from asgard.common.settings import load_settings

_QUICK = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
_QUIET = "-Xlog:cds=off -Xlog:cds+dynamic=off"
_PROGRAM = """
import sys
from pyspark import SparkContext
from asgard.common.settings import load_settings
from asgard.common.spark_utils import open_session
session = open_session(load_settings({"project_dir": sys.argv[1]}), "classes", {}, {})
rows = session.range(100).selectExpr("id", "id % 7 AS part", "cast(id AS string) AS text", "current_timestamp() AS at")
rows.write.parquet(f"{sys.argv[1]}/rows")
read = session.read.parquet(f"{sys.argv[1]}/rows")
joined = read.join(session.createDataFrame([(1, "a")], "part bigint, name string"), "part", "left")
assert len(joined.groupBy("name").count().orderBy("name").collect()) == 2
assert read.mapInPandas(lambda frames: frames, read.schema).count() == 100
assert session.sql("SELECT 1 WHERE 'a' RLIKE 'a'").count() == 1
server = SparkContext._gateway.proc
session.stop()
SparkContext._gateway.shutdown()
server.stdin.close()
sys.exit(server.wait(120))
"""


def archive() -> Path:
    """Return the file of the class archive for this Spark and this Java."""
    settings = load_settings()
    java = find_java(Purpose.SPARK, settings)
    name = hashlib.sha256(f"{java.home} {java.version} {version('pyspark')} {sys.prefix}".encode()).hexdigest()[:16]
    return settings.cache_dir / "test-classes" / f"{name}.jsa"


def set_java_options() -> None:
    """Set the options for all JVMs that this process starts."""
    try:
        path = archive()
    except (AsgardError, OSError):  # tests that need Java report the error
        return
    shared = f" -XX:SharedArchiveFile={path} {_QUIET}" if path.exists() else ""
    os.environ["SPARK_SUBMIT_OPTS"] = _QUICK + shared
    os.environ["SPARK_LAUNCHER_OPTS"] = _QUICK


def main() -> int:
    """Write the archive, if it does not exist; the tests also run without it."""
    try:
        path = archive()
        path.parent.mkdir(parents=True, exist_ok=True)
    except (AsgardError, OSError) as error:
        sys.stderr.write(f"no archive of Java's classes was written: {error}\n")
        return 0
    if path.exists() or path.with_suffix(".none").exists():
        return 0
    for old in sorted(path.parent.glob("*.jsa"), key=lambda each: each.stat().st_mtime)[:-2]:
        old.unlink(missing_ok=True)  # archives of other clones, about 170 MB each
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / "classes.jsa"
        options = f"{_QUICK} -XX:ArchiveClassesAtExit={made} {_QUIET}"
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, folder],
            env={**os.environ, "SPARK_SUBMIT_OPTS": options},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not made.exists():
            sys.stderr.write(f"this Java writes no archive of its classes: {done.stderr[-500:]}\n")
            path.with_suffix(".none").touch()
            return 0
        made.rename(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
