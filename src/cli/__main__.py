"""`python -m asgard.cli` is `asgard`."""

from asgard.cli import main

raise SystemExit(main())
