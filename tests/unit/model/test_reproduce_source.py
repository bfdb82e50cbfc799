"""A version whose training noted no pipeline: the error names the option that helps."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support.prediction_requests import version

from asgard.model.provenance.reproduce import NotReproducibleError, reproduce
from asgard.model.versions import Binding


def test_what_nobody_noted_can_be_named() -> None:
    no_lake: Any = None
    unnoted = replace(version("1.0.0"), binding=Binding(details={"sample": {}, "source": None}))
    with pytest.raises(NotReproducibleError, match="the place of its pipeline was not recorded") as caught:
        reproduce(no_lake, unnoted)
    assert "--pipeline examples/retail" in caught.value.hint
