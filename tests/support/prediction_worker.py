"""A separate process that predicts on Spark, for a test that kills its Python worker.

`python -m tests.support.prediction_worker PROJECT_DIR MASTER TOLD OUT`
"""

import sys
from pathlib import Path

from tests.support.models import NAMES, Stubborn, artifact, rows

from asgard.common.errors import AsgardError
from asgard.common.settings import load_settings
from asgard.common.spark_utils import explained, open_session
from asgard.model import score_frame
from asgard.model.artifacts.formats import Format

COUNT = 4000


def run(project_dir: str, master: str, told: str, out: str) -> None:
    settings = load_settings({"project_dir": project_dir, "spark_master": master})
    spark = open_session(settings, "asgard prediction worker", {}, {})
    import pandas as pd

    frame = pd.DataFrame(rows(COUNT, gaps=False), columns=list(NAMES)).assign(id=range(COUNT))
    frame = frame.astype({"visits": "int64", "member": "bool"})
    model = artifact(Format.PICKLE, "regression", Stubborn(Path(told)))
    scored = score_frame(spark.createDataFrame(frame).repartition(4), model, keep=["id"])
    with explained("Predicting"):
        scored.write.parquet(out)


if __name__ == "__main__":
    try:
        run(*sys.argv[1:])
    except AsgardError as error:
        sys.exit(str(error))
