"""The one exception a user's mistake raises, and the text of messages."""

import re
from collections.abc import Iterable, Sequence


class UserError(ValueError):
    """Wrong input, told in one line that names the file or the value and the rule.

    The library raises it like any `ValueError`; the commands print its message on stderr and exit
    with status 2.
    """


def one_line(error: BaseException) -> str:
    """The message of an error in one line: each run of white space becomes one space.

    An error without a message is told by the name of its class.
    """
    return _joined(error) or type(error).__name__


def reason(error: BaseException) -> str:
    """Why something failed, in one line, to stand behind the name of a file.

    Of an error of the operating system only its reason, without the number and the file; of any
    other all of `one_line`.
    """
    return _joined(getattr(error, "strerror", None) or "") or one_line(error)


def _joined(text: object) -> str:
    return " ".join(str(text).split())


# Bytes of a name that are not UTF-8 (Python holds them as surrogates), control characters, line
# separators, and marks that change the direction of what follows.
_UNSAFE = re.compile(
    "[\ud800-\udfff\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)
_NOT_TEXT = re.compile("[\ud800-\udfff]")
_FORMULA = ("=", "+", "-", "@")  # how spreadsheets recognise one


def printable(text: object) -> str:
    r"""Return text in one line that a terminal shows as it is.

    Bytes that are not UTF-8, control characters, line breaks and marks of direction become escapes,
    such as \xfc, \x1b, \n and \u202e.
    """
    return _UNSAFE.sub(_escape, str(text))


def csv_cell(text: object) -> str:
    """Return text that a spreadsheet does not take for a formula: with ' in front of one."""
    cell = printable(text)
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def is_text(name: str) -> bool:
    """Return whether a name is UTF-8."""
    return _NOT_TEXT.search(name) is None


def _escape(found: re.Match[str]) -> str:
    if _NOT_TEXT.match(found[0]):
        return f"\\x{ord(found[0]) & 0xFF:02x}"
    return found[0].encode("unicode_escape").decode()


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


_LONGEST = 100  # characters of a name in a message


def named(name: object) -> str:
    """Return a name of unknown origin for a message: in one line, and cut if it is long."""
    text = printable(str(name)[: _LONGEST + 1])
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
