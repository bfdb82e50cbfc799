"""What the demo refuses before it starts anything."""

from pathlib import Path

import pytest

from asgard.common.errors import UsageError
from asgard.local.demo.demo import tell


def test_an_example_that_is_not_there_starts_no_services(tmp_path: Path) -> None:
    folder, said = tmp_path / "project", list[str]()
    with pytest.raises(UsageError, match=r"There is no pipeline at .*nope"):
        tell(folder, said.append, example=tmp_path / "nope")
    assert not folder.exists()
    assert said == []
