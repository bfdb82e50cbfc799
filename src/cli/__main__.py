"""`python -m asgard.cli` is `asgard`."""

from asgard.cli.app import main

raise SystemExit(main())
