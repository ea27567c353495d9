"""The one exception a user's mistake raises."""


class UserError(ValueError):
    """Wrong input, told in one line that names the file or the value and the rule.

    The library raises it like any `ValueError`; the commands print its message on stderr and exit
    with status 2.
    """
