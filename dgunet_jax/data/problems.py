"""Many problems in one line."""

from collections.abc import Sequence

_MOST = 10


def listed(problems: Sequence[str]) -> str:
    """The first ten, separated by commas, and how many more there are."""
    shown = ", ".join(problems[:_MOST])
    more = len(problems) - _MOST
    return f"{shown} and {more} more" if more > 0 else shown
