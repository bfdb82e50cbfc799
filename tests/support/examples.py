"""Number of examples in property-based tests: all with `./run test --thorough`, otherwise a third."""

import os

from hypothesis import settings

THOROUGH = bool(os.environ.get("TEST_THOROUGH"))
_FEWEST = 20
_OF_HYPOTHESIS = 100


def examples(count: int) -> int:
    """Return how many examples this run draws, if a thorough run draws `count`."""
    return count if THOROUGH else max(count // 3, min(count, _FEWEST))


settings.register_profile("asgard", max_examples=examples(_OF_HYPOTHESIS))
settings.load_profile("asgard")
