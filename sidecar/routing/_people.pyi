from typing import final

@final
class Writer:
    """Writes messages by one program of encoding.py; `texts` are the constants it names.

    Not for several threads at once.
    """

    def __new__(cls, program: list[tuple[int, int, int]], texts: list[bytes]) -> Writer: ...
    def write(self, row: list[str]) -> bytes | None:
        """Write a row, or leave it to Python: None. UnicodeEncodeError: a cell is no UTF-8."""
