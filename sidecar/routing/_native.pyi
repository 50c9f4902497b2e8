from typing import final

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

    def capsule(self) -> object:
        """Return the C table, for the native transport; it is valid as long as this object lives."""

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

    def slot_at(self, at: int, position: int, second: int) -> int:
        """Return the slot of rollout number `at` (in order of names) at a point of its line."""

    def tally(self) -> dict[tuple[str, str, str], int]:
        """Return decisions answered by this table so far, by (rollout, variant, reason)."""

    def force_refused(self) -> dict[str, int]:
        """Return how many force tokens this table's answers ignored so far, by why."""
