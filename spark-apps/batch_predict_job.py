"""The script that spark-submit starts for the batch-predict job; it takes the arguments of `asgard batch-predict`."""

from asgard.jobs.batch_predict_job import main

if __name__ == "__main__":
    raise SystemExit(main())
