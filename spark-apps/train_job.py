"""What spark-submit starts for the train job; the parameters are those of `asgard train`."""

from asgard.jobs.train_job import main

if __name__ == "__main__":
    raise SystemExit(main())
