"""The jobs for the Spark operator: what is tried again, and what is not."""

import re
from pathlib import Path

APPS = Path(__file__).parents[2] / "spark-apps"


def retries(name: str) -> int:
    (found,) = re.findall(r"^ +onFailureRetries: (\d+)", (APPS / name).read_text(encoding="utf-8"), re.MULTILINE)
    return int(found)


def test_a_training_is_not_tried_again_since_each_registers_a_version() -> None:
    assert retries("train.yaml") == 0
    assert retries("batch-predict.yaml") > 0
