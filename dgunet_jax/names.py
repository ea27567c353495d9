"""Text of unknown origin, such as file names, made safe to print and to list."""

import re

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
