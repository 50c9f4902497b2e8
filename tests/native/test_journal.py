"""The journal in a file: what was taken outlives the process that took it."""

import mmap
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from entries import NOW_US, entry, message

from sidecar.analysis import cells
from sidecar.routing import Rows

NAMES = [("chat", "canary")]
BYTES = 1 << 16
MESSAGE = message(*[entry()] * 10)

_TAKER = """
import mmap, os, sys
from sidecar.routing import Rows
file = open(sys.argv[1], "r+b")
rows = Rows(mmap.mmap(file.fileno(), 0))
rows.know("v1", [("chat", "canary")])
taken = bytes.fromhex(sys.argv[2])
while True:
    rows.take(taken, int(sys.argv[3]))
    print(rows.counts()["taken"], rows.counts()["overrun"], flush=True)
"""


def opened(path: Path) -> tuple[Rows, mmap.mmap]:
    with path.open("r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
    rows = Rows(memory)
    rows.know("v1", NAMES)
    return rows, memory


def completed(rows: Rows) -> int:
    total: Counter[int] = Counter()
    while number := rows.turn():
        for *_, counts in rows.fold(number):
            total.update(counts)
        rows.release(number)
    return total[cells.COMPLETED]


@pytest.mark.parametrize("said", [1, 3, 20])
def test_what_a_killed_process_took_is_there(tmp_path, said):
    path = tmp_path / "journal"
    path.write_bytes(bytes(BYTES))
    argv = [sys.executable, "-c", _TAKER, str(path), MESSAGE.hex(), str(NOW_US)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as taker:
        lines = [taker.stdout.readline() for _ in range(said)]
        taker.send_signal(signal.SIGKILL)
        lines += taker.stdout.read().splitlines()
    taken = int(lines[-1].split()[0])
    rows, _ = opened(path)
    found = completed(rows)
    # It may have been in the middle of another message, never in the middle of a record.
    assert taken <= found <= taken + 10


def test_a_half_that_was_not_released_comes_again_and_only_that():
    memory = bytearray(BYTES)
    rows = Rows(memory)
    rows.know("v1", NAMES)
    rows.take(MESSAGE, NOW_US)
    first = rows.turn()
    rows.take(message(entry()), NOW_US)
    assert rows.turn() == first
    again = Rows(memory)
    assert again.turn() == first
    [(*_, counts)] = again.fold(first)
    assert counts[cells.COMPLETED] == 10
    again.release(first)
    second = again.turn()
    assert second == first + 1
    [(*_, counts)] = again.fold(second)
    assert counts[cells.COMPLETED] == 1


def test_a_full_journal_refuses_and_counts_and_goes_on_when_it_was_folded():
    rows = Rows(bytearray(4096))
    rows.know("v1", NAMES)
    for _ in range(10):
        rows.take(MESSAGE, NOW_US)
    counts = rows.counts()
    assert counts["taken"] + counts["overrun"] == 100
    assert counts["overrun"] > 0
    assert completed(rows) == counts["taken"]
    rows.take(message(entry()), NOW_US)
    assert completed(rows) == 1


def test_memory_that_holds_something_else_is_refused():
    with pytest.raises(ValueError, match="no journal"):
        Rows(bytearray(b"x" * 4096))
    with pytest.raises(ValueError, match="no journal"):
        Rows(bytearray(8))


@pytest.mark.parametrize("at", range(64, 400, 8))
def test_a_damaged_file_gives_what_can_be_read_and_says_so(at):
    memory = bytearray(BYTES)
    rows = Rows(memory)
    rows.know("v1", NAMES)
    rows.take(MESSAGE, NOW_US)
    memory[at : at + 4] = b"\xff" * 4
    found = [counts for *_, counts in rows.fold(rows.turn())]
    total = sum(counts[cells.COMPLETED] for counts in found)
    assert total == 10 or rows.damaged == 1


def test_more_different_rows_than_one_fold_holds_all_come():
    rows = Rows(bytearray(1 << 22))
    decision = {"version": "v1", "reason": "weight", "variant": "canary"}
    rows.know("v1", [(f"r{i}", "canary") for i in range(1500)])
    for i in range(1500):
        rows.take(message(entry(decisions={f"r{i}": decision})), NOW_US)
    folded = rows.fold(rows.turn())
    assert len({key[1] for *key, _ in folded}) == len(folded) == 1500
