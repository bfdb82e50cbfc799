"""The script that spark-submit starts for the online-sync job; it takes the arguments of `asgard online-sync`."""

from asgard.jobs.online_sync_job import main

if __name__ == "__main__":
    raise SystemExit(main())
