"""The script that spark-submit starts for the ingest job; it takes the arguments of `asgard ingest`."""

from asgard.jobs.ingest_job import main

if __name__ == "__main__":
    raise SystemExit(main())
