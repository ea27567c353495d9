"""Names of files, which may be of any bytes, in what is printed and written as UTF-8."""

import re

_NO_TEXT = re.compile("[\ud800-\udfff]")  # how Python holds bytes of a name that are not UTF-8


def escaped(text: object) -> str:
    """The text with bytes that are not UTF-8 as \\xfc."""
    return _NO_TEXT.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", str(text))


def is_text(name: str) -> bool:
    """Whether a name is UTF-8."""
    return _NO_TEXT.search(name) is None
