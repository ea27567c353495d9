"""The one exception a user's mistake raises, and messages of one line."""


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
