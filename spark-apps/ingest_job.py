"""What spark-submit starts for the ingest job; the parameters are those of `asgard ingest`."""

from asgard.jobs.ingest_job import main

if __name__ == "__main__":
    raise SystemExit(main())
