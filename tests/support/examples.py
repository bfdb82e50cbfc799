"""How many examples property-based tests draw: all in `./run test --thorough`, a third otherwise."""

import os

from hypothesis import settings

THOROUGH = bool(os.environ.get("TEST_THOROUGH"))
_FEWEST = 20
_OF_HYPOTHESIS = 100


def examples(count: int) -> int:
    """Of a thorough run's `count`, as many as this run draws."""
    return count if THOROUGH else max(count // 3, min(count, _FEWEST))


settings.register_profile("asgard", max_examples=examples(_OF_HYPOTHESIS))
settings.load_profile("asgard")
