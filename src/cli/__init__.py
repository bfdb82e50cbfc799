"""The `asgard` command."""


def main() -> int:
    """Run `asgard` with this process's arguments; signals are handled from here on, also during the imports."""
    from asgard.common.stopping import stoppable

    return stoppable(_run, own=True)


def _run() -> int:
    from asgard.cli.app import main as run

    return run()
