"""`python -m asgard.local.prepare`: fetch what a first run needs, as a separate step.

Without this step, each file is fetched on first use; `./run` fetches them earlier, with visible progress.
"""

import argparse
import sys
from collections.abc import Sequence

from asgard.common.errors import AsgardError
from asgard.common.jars import JarSet, ensure_jars
from asgard.common.java import Purpose, find_java
from asgard.common.settings import load_settings


def main(argv: Sequence[str] | None = None) -> int:
    """Find Java and fetch the jars of the named sets; by default those for Spark and Nessie."""
    parser = argparse.ArgumentParser(prog="python -m asgard.local.prepare", description=__doc__)
    names = [jar_set.value for jar_set in JarSet]
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(names)}; default: spark nessie")
    asked = parser.parse_args(argv).sets or [JarSet.SPARK.value, JarSet.NESSIE.value]
    if unknown := sorted(set(asked) - set(names)):
        parser.error(f"unknown set: {', '.join(unknown)}; expected {', '.join(names)}")
    try:
        settings = load_settings()
        for purpose in (Purpose.SPARK, Purpose.NESSIE):
            java = find_java(purpose, settings)
            _say(f"{purpose.value} will use Java {java.version}: {java.source}")
        ensure_jars(*map(JarSet, asked), settings=settings, say=_say)
    except AsgardError as error:
        _say(f"error: {error}")
        return error.exit_code
    return 0


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
