"""The script that spark-submit starts for the train job; it takes the arguments of `asgard train`."""

from asgard.jobs.train_job import main

if __name__ == "__main__":
    raise SystemExit(main())
