from collections.abc import Callable
from typing import final

from sidecar.routing import Rows, Table

MAX_THREADS: int
BOUNDS_NS: tuple[int, ...]
NGHTTP2_VERSION: str

@final
class Server:
    """The native transport, running from its making to `close()`.

    `listener` is the descriptor of a non-blocking listening socket, which belongs to the server
    from here on. `trusted`: only local, permitted peers reach it. `sampling`: None, or (follow the
    parent's flag, sample every other trace, or those whose id's low 64 bits are below this).
    `greeting_ms`, `stall_ms`: how long a peer may take to greet, and to make room for what it
    asked for; 0 leaves 10 and 20 s. `alarm`: an eventfd, open as long as the server, that is
    written to when there are many spans to take; 0: none.
    OSError: no threads or descriptors; the listener is then still the caller's.
    """

    def __new__(
        cls,
        listener: int,
        threads: int,
        trusted: bool,
        sampling: tuple[bool, bool, int] | None,
        rows: Rows | None = None,
        greeting_ms: int = 0,
        stall_ms: int = 0,
        alarm: int = 0,
    ) -> Server: ...
    def swap(self, table: Table) -> None:
        """Put a table in force for every message from now on; no request waits for it."""

    def collect(self) -> int:
        """Free the tables that nobody reads any more; return how many still wait."""

    def decisions(self) -> dict[tuple[str, str, str], int]:
        """Return decisions by (rollout, variant, reason) since the start."""

    def counters(self) -> dict[str, int]:
        """Return what happened since the start, by name."""

    def durations(self) -> tuple[tuple[int, ...], int]:
        """Return decisions per bucket of BOUNDS_NS and one above, and all durations in ns."""

    def spans(
        self, limit: int, template: Callable[[str, str, str, str], tuple[bytes, bytes]]
    ) -> list[bytes]:
        """Return sampled decisions that were not yet taken, at most `limit`, as OTLP spans.

        `template` is asked once per rollout, variant, reason and version for what their spans have
        in common, and for the attribute that names the unit, without its digits.
        """

    def set_serving(self, serving: bool) -> None:
        """What grpc.health.v1 says."""

    def drain(self) -> None:
        """Accept nothing more, say GOAWAY to every peer, let open calls finish."""

    @property
    def open_connections(self) -> int: ...
    def close(self) -> None:
        """Close what is open and end the threads."""
