"""Lists and numbers in messages."""

from collections.abc import Iterable, Sequence


def listed(items: Sequence[str], most: int = 10) -> str:
    """The first `most` items, separated by commas, and how many more there are."""
    shown = ", ".join(items[:most])
    more = len(items) - most
    return f"{shown} and {more} more" if more > 0 else shown


def either(items: Iterable[object]) -> str:
    """The choices there are: "8", "8 or 16", "1, 2 or 4"."""
    *others, last = map(str, items)
    return f"{', '.join(others)} or {last}" if others else last


def counted(number: int, noun: str) -> str:
    """ "1 picture", "2 pictures"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
