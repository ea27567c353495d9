"""Messages of errors in one line."""

import pytest

from dgunet_jax.system.errors import UserError, one_line, reason


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("a rule"), "a rule"),
        (OSError("\n first line\r\n\n\tsecond \u00a0 line \n"), "first line second line"),
        (UserError(" \n"), "UserError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_a_message_is_told_in_one_line(error: BaseException, line: str):
    assert one_line(error) == line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FileNotFoundError(2, "No such\nfile", "a.png"), "No such file"),
        (OSError("cannot\nsay"), "cannot say"),
        (OSError(5, ""), "[Errno 5]"),
        (OSError(), "OSError"),
        (ValueError(" a  rule"), "a rule"),
    ],
)
def test_the_reason_of_an_error_has_neither_number_nor_file(error: Exception, line: str):
    assert reason(error) == line
