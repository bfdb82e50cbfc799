"""The script that spark-submit starts for the backfill job; it takes the arguments of `asgard backfill`."""

from asgard.jobs.backfill_job import main

if __name__ == "__main__":
    raise SystemExit(main())
