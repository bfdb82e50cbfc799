"""Types that several rooms share."""

from collections.abc import Callable

Say = Callable[[str], None]
"""Takes a line for people: what is under way, or what they should know."""
