"""Writes what the C programs of this folder read: tables and messages, in the layout of this build.

    python native/check/seeds.py build/check/fixed tests/corpus

The first folder gets the tables and the message of the drivers; the second one, if it is given,
the fuzzers' seeds, which are made from the same strategies as the property tests: what routes
learn to say, the seeds say with them.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import entries  # noqa: E402
import messages  # noqa: E402
import ruled  # noqa: E402

from sidecar.routing import Route, Rows, UnitSource, Variant, compile_table  # noqa: E402

UNIT = (
    UnitSource("header", "x-user-id"),
    UnitSource("cookie", "sid"),
    UnitSource("client_address"),
)
SEEDS = 48
RULED = 12


def drawn(strategy: st.SearchStrategy[Any], take: Callable[[Any], object]) -> None:
    """Give `take` some of the strategy's values, always the same ones."""

    @settings(max_examples=SEEDS, derandomize=True, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(strategy)
    def each(value: Any) -> None:
        take(value)

    each()


def ruled_routes() -> list[Route]:
    """Rollouts with rules of every kind that speak on every request."""
    made: list[Route] = []
    drawn(ruled.ruled(), made.append)
    made.sort(key=lambda route: -len(repr(route.segments)))
    return [
        replace(route, name=f"ruled-{i:02}", hosts=(), path_prefix="", layer=None)
        for i, route in enumerate(made[:RULED])
    ]


def fixed_routes() -> list[Route]:
    """Rollouts that all speak on the fixed message, and many more that do not."""
    halves = (Variant("stable", 1), Variant("canary", 1))
    many = (Variant("base", 1), *(Variant(f"v{i}", i) for i in range(1, 6)))
    return [
        Route("chat", UNIT, b"salt", halves, path_prefix="/v1"),
        Route("search", UNIT, b"other", many, hosts=("*.example",)),
        Route("whole", UNIT, b"s", (Variant("only", 1),)),
        *(Route(f"r-{i}", UNIT, b"s", halves, (f"h{i}.example",)) for i in range(50)),
        *ruled_routes(),
    ]


def fixed_message() -> bytes:
    """A request as Envoy sends it, large enough that a few hundred answers fill a socket."""
    reserved = [(f"x-canary-not-ours-{i}-{'x' * 50}", b"1") for i in range(16)]
    headers = [(":path", b"/v1/chat?q=1"), (":authority", b"shop.example"), ("x-user-id", b"u1")]
    return messages.request_headers(headers + reserved, "10.1.2.3:4567")


def write(folder: Path, name: str, content: bytes) -> None:
    """Write one file, its folder first."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def write_fixed(folder: Path) -> None:
    """The drivers' tables, two versions of the same rollouts, and what they are sent."""
    routes = fixed_routes()
    write(folder, "a.table", compile_table(routes, "version-a", ruled.KEYS))
    write(folder, "b.table", compile_table(routes, "version-b", ruled.KEYS))
    write(folder, "message", fixed_message())
    write(folder, "log", entries.message(entries.entry(), entries.entry(code=500, grpc_status="2")))


def write_seeds(folder: Path, strategy: st.SearchStrategy[bytes]) -> None:
    """Some of the strategy's bytes, each under the name of its digest."""
    for old in folder.glob("made-*"):
        old.unlink()
    drawn(strategy, lambda b: write(folder, f"made-{sha256(b).hexdigest()[:12]}", b))


def logged() -> st.SearchStrategy[bytes]:
    """What fuzz_log.c takes: messages, into much room or little, and the memory they leave."""
    said = st.lists(st.one_of(entries.ENTRIES, entries.PLAIN), min_size=1, max_size=4)
    return st.tuples(st.sampled_from([0, 4]), said).map(
        lambda pair: bytes(pair[:1]) + entries.message(*pair[1])
    ) | said.map(journal)


def journal(said: list[Any]) -> bytes:
    """What stands in a journal after these entries: its records, or all of it."""
    memory = bytearray(1 << 16)
    rows = Rows(memory, 64)
    for version in ("v1", "v2"):
        rows.know(version, [(r, v) for r in ("chat", "shop") for v in ("stable", "canary")])
    rows.take(entries.message(*said), entries.NOW_US)
    used = int.from_bytes(memory[24:32], "little")
    records = bytes(memory[64 : 64 + used])
    return b"\x01" + records if len(said) % 2 else b"\x02" + bytes(memory[:64]) + records


def main(fixed: str, corpus: str | None = None) -> None:
    """Write the folders."""
    write_fixed(Path(fixed))
    if corpus:
        tables = ruled.ruled_tables().map(lambda r: compile_table(r, "v", ruled.KEYS))
        write_seeds(Path(corpus) / "table", tables)
        write_seeds(Path(corpus) / "codec", ruled.ruled_requests(ruled_routes()[:2]))
        write_seeds(Path(corpus) / "log", logged())


if __name__ == "__main__":
    main(*sys.argv[1:])
