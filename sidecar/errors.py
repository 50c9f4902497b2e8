"""Every error a user can meet carries its remedy.

One root, so that the command line can print any of them as two lines and exit, and so that
a server can turn any of them into a status message without knowing which room it came from.
"""


class CanaryError(Exception):
    """Something the user can mend.

    `str(error)` names the place and what is wrong; `remedy` says what to do about it.
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy

    def __str__(self) -> str:
        message = str(self.args[0])
        return f"{message}\n  remedy: {self.remedy}" if self.remedy else message
