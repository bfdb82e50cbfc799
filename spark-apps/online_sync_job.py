"""What spark-submit starts for the online-sync job; the parameters are those of `asgard online-sync`."""

from asgard.jobs.online_sync_job import main

if __name__ == "__main__":
    raise SystemExit(main())
