from collections.abc import Iterable, Iterator
from typing import final

from typing_extensions import Buffer

def hash128(*parts: bytes) -> tuple[int, int]:
    """Return the low and high 64 bits of MurmurHash3_x64_128, seed 0, of the joined parts."""

@final
class Table:
    """An immutable routing table in native memory.

    `data` comes from `compiling.compile_table`; ValueError says why other bytes are refused.
    """

    def __new__(cls, data: bytes) -> Table: ...
    def __len__(self) -> int: ...
    @property
    def version(self) -> str:
        """The version every answer carries in its metadata."""

    @property
    def announced(self) -> tuple[int, int, int, int]:
        """How many rollouts, hosts, unit sources and variants the head of its bytes announces."""

    def span(self, name: str) -> tuple[int, int, int]:
        """Return (how many rollouts stand before this one, begin, end) of a rollout in the body.

        Begin and end are the same where it is not there: that is its place.
        """

    def body(self, begin: int, end: int) -> bytes:
        """Return what stands there of the bytes of all rollouts. IndexError: it ends before."""

    @property
    def body_len(self) -> int:
        """How long the bytes of all rollouts are."""

    def variants(self, among: Iterable[str] | None = None) -> Iterator[tuple[str, str]]:
        """List (rollout, variant) of all rollouts, or of those `among` these that are there."""

    def capsule(self) -> object:
        """Return the C table, for the transport; it is valid as long as this object lives."""

    def answer(self, message: bytes, now_s: int = ...) -> bytes:
        """Answer a serialised ProcessingRequest with a serialised ProcessingResponse.

        `now_s` is the Unix time by which force tokens expire; without it all have.
        Empty where the protocol wants no answer. ValueError: not a ProcessingRequest.
        """

    def decide(self, message: bytes, now_s: int = ...) -> list[tuple[str, str, str, int, int]]:
        """Return (rollout, variant, reason, position, second) per rollout that speaks.

        Counts nothing. Only request headers decide: empty for every other message.
        """

    def decide_often(self, message: bytes, times: int) -> None:
        """Read a message once and decide it so many times, in C alone: for the benchmarks."""

    def decide_many(self, messages: list[bytes]) -> memoryview:
        """Decide each message: one number (format "I") per message and rollout, row by row.

        Rollouts stand in the order of their names; `meaning` reads a number, 0xffffffff: the
        rollout does not speak. Counts nothing, no force token holds. ValueError: one of them is no
        ProcessingRequest.
        """

    def meaning(self, at: int, code: int) -> tuple[str, str]:
        """Return (variant, reason) for a number of `decide_many`, of rollout number `at`."""

    def slot_at(self, at: int, position: int, second: int) -> int:
        """Return the slot of rollout number `at` (in order of names) at a point of its line."""

    def looks(self) -> dict[tuple[str, tuple[str, ...]], tuple[str, int]]:
        """Return what rollouts look at: (kind, names) of each input (rules.Input), in order.

        With the first rollout that looks there, and how many do.
        """

    def tally(self) -> dict[tuple[str, str, str], int]:
        """Return decisions answered by this table so far, by (rollout, variant, reason)."""

    def force_refused(self) -> dict[str, int]:
        """Return how many force tokens this table's answers ignored so far, by why."""

def bucket(duration_us: int) -> int:
    """Return the histogram's bucket of a duration; see sidecar/analysis/edges.py."""

@final
class Rows:
    """What access log entries become: see native/sc_rows.h.

    `memory` (writable, contiguous, from an mmap or a bytearray of zeros) is the journal; in a file
    mapped MAP_SHARED, what was taken outlives the process. `units` bounds how many units are
    remembered, twice over. ValueError: the memory holds something else.
    """

    def __new__(cls, memory: Buffer, units: int = ...) -> Rows: ...
    def capsule(self) -> object:
        """Return the C rows, for the native transport; valid as long as this object lives."""

    def know(self, version: str, names: Iterable[tuple[str, str]]) -> None:
        """Let entries name this table version of an earlier life, and these (rollout, variant)."""

    def begin(self, version: str, names: Iterable[tuple[str, str]], changed: Iterable[str]) -> None:
        """Take note that a table comes into force, and which rollouts have other odds by it.

        What `changed` does not name goes on in the rows, and with the units, of the table that gave
        it its odds. Of the first table nobody asks. ValueError: the version is empty or too long.
        """

    def take(self, message: bytes, now_us: int) -> None:
        """Take a serialised StreamAccessLogsMessage, whatever it is. From any thread."""

    def log_opened(self, message: bytes) -> int:
        """Take note of an access log whose first message this is; -1 if it says no name."""

    def log_closed(self, log: int) -> None:
        """Take note that it ended: `log` is what `log_opened` gave."""

    def log_names(self) -> list[str]:
        """Return the names that the open access logs say of themselves, each once, sorted."""

    def counts(self) -> dict[str, int]:
        """Return what became of entries, since the start."""

    # One thread only.

    def turn(self) -> int:
        """Close the half of the journal being written; return its number, 0 if all is folded."""

    def fold(self, number: int) -> list[tuple[int, str, str, str, str, dict[int, int]]]:
        """Fold a closed half: (start second, rollout, variant, version, segment, counts by cell).

        The same key may come twice: its counts add up. What cannot be read is left out, and
        `damaged` is raised by one.
        """

    @property
    def damaged(self) -> int:
        """How many halves could not be read to their end."""

    def release(self, number: int) -> None:
        """Say that what `fold` gave is kept."""
