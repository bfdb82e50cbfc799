"""What spark-submit starts for the backfill job; the parameters are those of `asgard backfill`."""

from asgard.jobs.backfill_job import main

if __name__ == "__main__":
    raise SystemExit(main())
