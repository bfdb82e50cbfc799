"""Types that several packages share."""

from collections.abc import Callable

Say = Callable[[str], None]
"""Function that receives a line of progress or notice for people."""
