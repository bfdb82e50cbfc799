"""Which line of the user's an error came through: in this process, on a worker, and while a pipeline is loaded."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import asgard
from asgard.common.errors import AsgardError, DeclarationError, RunError, UsageError
from asgard.common.places import raised, raised_on_worker
from asgard.common.spark_utils import explain, explained
from asgard.lakehouse.declaring.loading import load_pipeline
from asgard.validation.failures import one_line

HOME = Path(asgard.__file__).parent
HERE = Path(__file__).name


def line_of(text: str, path: Path = Path(__file__)) -> int:
    """The line of a file on which a text stands first."""
    return next(number for number, line in enumerate(path.read_text().splitlines(), 1) if text in line)


def lookup(values: dict[str, int]) -> int:
    return values["customer"]  # a key that is not there


def in_pandas(frame: Any) -> Any:
    return frame["nowhere"]  # raises within pandas


def with_blank_message() -> None:
    raise AssertionError  # no message


@pytest.mark.parametrize(
    ("fail", "said", "line", "function"),
    [
        (lambda: lookup({}), "KeyError: 'customer'", "a key that is not there", "lookup"),
        (lambda: in_pandas(pd.DataFrame({"a": [1]})), "KeyError: 'nowhere'", "raises within pandas", "in_pandas"),
        (with_blank_message, "AssertionError", "no message", "with_blank_message"),
    ],
)
def test_the_users_own_frame_is_named(fail: Callable[[], Any], said: str, line: str, function: str) -> None:
    with pytest.raises(RunError) as caught, explained("The function of silver.a"):
        fail()
    message = caught.value.message
    assert message.startswith(f"The function of silver.a failed: {said} (")
    assert message.endswith(f"{HERE}, line {line_of(line)}, in {function}).")


WORKER = """An error occurred while calling o88.append.
: org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 1.0 failed 1 times, most recent \
failure: Lost task 0.0: org.apache.spark.api.python.PythonException: Traceback (most recent call last):
  File "/opt/spark/python/lib/pyspark.zip/pyspark/worker.py", line 1835, in main
    process()
  File "/jobs/retail.zip/retail/transforms.py", line 12, in cleaned
    return normalise(x)
           ^^^^^^^^^^^^
  File "/jobs/retail.zip/retail/names.py", line 7, in normalise
    return table[x]
  File "/usr/lib/python3/dist-packages/pandas/core/frame.py", line 3, in __getitem__
    raise KeyError(key)
KeyError: 'customer'

\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.handlePythonException(PythonRunner.scala:581)
"""


def test_a_workers_traceback_is_read() -> None:
    message = explain(RuntimeError(WORKER), "Writing silver.a").message
    assert message == (
        "Writing silver.a failed: KeyError: 'customer' (/jobs/retail.zip/retail/names.py, line 7, in normalise)."
    )
    assert one_line(RuntimeError(WORKER)) == (
        "KeyError: 'customer' (/jobs/retail.zip/retail/names.py, line 7, in normalise)"
    )


def test_a_library_that_asgard_calls_is_nobodys_code() -> None:
    library = WORKER.replace("/jobs/retail.zip/retail/transforms.py", "/venv/lib/site-packages/pyspark/sql/worker.py")
    library = library.replace("/jobs/retail.zip/retail/names.py", str(HOME / "features" / "joining.py"))
    assert str(raised_on_worker(library)) == "KeyError: 'customer'"


def test_of_chained_errors_the_last_counts() -> None:
    again = WORKER.partition("Traceback")[2].replace("KeyError: 'customer'", "shop.errors.NoPrice: none\nfor it")
    chained = WORKER.replace("\tat org", f"During handling of the above exception:\n\nTraceback{again}\tat org")
    found = raised_on_worker(chained)
    assert found is not None
    assert found.text == "NoPrice: none"


def test_a_pipeline_among_the_libraries_is_still_the_users() -> None:
    installed = WORKER.replace("/jobs/retail.zip", "/venv/lib/python3.11/site-packages")
    assert str(raised_on_worker(installed)).endswith("site-packages/retail/transforms.py, line 12, in cleaned)")


def test_a_folder_of_the_users_may_be_called_as_a_library() -> None:
    found = raised_on_worker(WORKER.replace("/jobs/retail.zip", "/home/me/pyspark"))
    assert str(found) == "KeyError: 'customer' (/home/me/pyspark/retail/names.py, line 7, in normalise)"


@pytest.mark.parametrize(
    "text", ["", "Traceback", "Traceback (most recent call last):", "Python worker exited", "a: b"]
)
def test_what_is_no_traceback_is_none(text: str) -> None:
    assert raised_on_worker(text) is None
    assert raised(ValueError(text)).text.startswith("ValueError")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder; what was imported from it is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if not name.startswith("asgard"):
            del sys.modules[name]


HEAD = "from asgard import Daily, Pipeline\nfrom asgard.validation.checks import not_null\nshop = Pipeline('shop')\n"
LOADED: dict[str, tuple[str, type[AsgardError], str, int]] = {
    "syntax": ("shop.source('bronze.a'\n", DeclarationError, "SyntaxError: '(' was never closed", 4),
    "import": ("\nimport no_such_library\n", DeclarationError, "ModuleNotFoundError: No module named", 5),
    "name": ("def late():\n    return undefined\nlate()\n", DeclarationError, "NameError: name 'undefined'", 5),
    "key": ("{}['customer']\n", DeclarationError, "KeyError: 'customer'", 4),
    "keyword": ("shop.source('bronze.a', oner='x')\n", DeclarationError, "there is no argument 'oner'", 4),
    "value": ("shop.source('bronze.a',\n    owner=1)\n", DeclarationError, "owner is 1 (int)", 4),
    "table name": ("shop.source('Bronze')\n", UsageError, "'Bronze' is not a table name", 4),
    "check": ("not_null(colum='id')\n", DeclarationError, "there is no argument 'colum'", 4),
    "nothing": ("shop.table('silver.a')\n", DeclarationError, "decorates no function", 4),
    "missing input": (
        "@shop.table('silver.a', inputs={'raw': 'bronze.a'})\ndef a(raw): return raw\n",
        DeclarationError,
        "its input 'raw' is bronze.a, which pipeline shop does not declare",
        0,
    ),
}


@pytest.mark.parametrize("case", LOADED)
def test_what_is_wrong_in_the_module_has_file_and_line(folder: Path, case: str) -> None:
    text, kind, message, line = LOADED[case]
    name = f"loaded_{case.replace(' ', '_')}"
    (folder / f"{name}.py").write_text(HEAD + text)
    with pytest.raises(kind) as refused:
        load_pipeline(f"{name}.py")
    whole = " ".join((refused.value.message, *refused.value.details))
    assert message in whole
    assert not line or f"{name}.py, line {line}" in whole
    assert refused.value.exit_code == 2


def test_a_module_that_the_pipeline_imports_is_named(folder: Path) -> None:
    (folder / "helping.py").write_text("\n\nraise ValueError('odd')\n")
    (folder / "importing.py").write_text("import helping\n" + HEAD)
    with pytest.raises(DeclarationError, match="ValueError: odd") as refused:
        load_pipeline("importing.py")
    assert refused.value.details == ("in helping.py, line 3",)
