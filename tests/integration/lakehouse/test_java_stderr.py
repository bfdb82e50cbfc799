"""What the JVM says on stderr reaches the user, but for the one line of each start that says nothing."""

import subprocess
import sys

from asgard.common.settings import Settings

PROGRAM = """
import sys
from asgard.common.settings import load_settings
from asgard.common.spark_utils import open_session
session = open_session(load_settings({"project_dir": sys.argv[1]}), "stderr", {}, {})
assert session.range(3).count() == 3
assert session.conf.get("spark.sql.session.timeZone") == "UTC"
session._jvm.java.lang.System.err.println("a word of Java's own")
session.stop()
session = open_session(load_settings({"project_dir": sys.argv[1]}), "again", {}, {})
assert session.range(3).count() == 3
session._jvm.java.lang.System.exit(3)
"""


def test_only_the_line_about_incubator_modules_is_kept_back(project: Settings) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(project.project_dir)], capture_output=True, text=True, timeout=300
    )
    assert "a word of Java's own" in done.stderr
    assert "incubator" not in done.stderr


def test_a_java_that_does_not_start_says_why(project: Settings) -> None:
    program = PROGRAM.replace('"stderr", {}', '"stderr", {"spark.driver.extraJavaOptions": "-javaagent:/nowhere.jar"}')
    done = subprocess.run(
        [sys.executable, "-c", program, str(project.project_dir)], capture_output=True, text=True, timeout=300
    )
    assert "EnvironmentSetupError: Spark did not start" in done.stderr
    assert "/nowhere.jar" in done.stderr
