"""The `asgard` command."""

from asgard.cli.app import main

__all__ = ["main"]
