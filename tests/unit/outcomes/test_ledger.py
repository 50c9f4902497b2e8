"""The ledger killed at any moment: the next one has every outcome, once."""

import signal
import subprocess
import sys

import pytest
from entries import DECISION, entry, message

from sidecar.analysis import cells
from sidecar.outcomes.ledger import Ledger, Table

NAMES = [("chat", "canary"), ("chat", "stable")]
NOW_S = 1_800_000_000

# Takes messages as fast as it can and ticks all the time, saying how many entries it was given.
_LIFE = """
import sys, threading, time
from pathlib import Path
from sidecar.outcomes.ledger import Ledger, Table
folder, message, now_s = Path(sys.argv[1]), bytes.fromhex(sys.argv[2]), int(sys.argv[3])
ledger = Ledger(folder)
table = Table("v1", [("chat", "canary")], [("chat", "canary")])
ledger.announce(table)
ledger.begin(table, {}, now_s)
def take():
    given = 0
    while True:
        ledger.rows.take(message, now_s * 10**6)
        given += 5
        print(given, ledger.rows.counts()["overrun"], flush=True)
        time.sleep(0.0005)
threading.Thread(target=take, daemon=True).start()
while True:
    ledger.tick(now_s)
"""


def begin(ledger, version, changed=("chat",), decided=None, now_s=NOW_S):
    """A table comes into force."""
    table = Table(version, NAMES, NAMES, changed)
    ledger.announce(table)
    ledger.begin(table, decided or {}, now_s)


def totals(ledger):
    total = {}
    for row in ledger.spool.pending(most=10_000):
        total = cells.add(total, cells.unpack(row.counts))
    return total


@pytest.mark.parametrize("lives", [3])
def test_no_life_loses_or_doubles_what_an_earlier_one_took(tmp_path, lives):
    given = message(*[entry(start_us=NOW_S * 10**6 - 1)] * 5)
    least = most = 0
    for life in range(lives):
        argv = [sys.executable, "-c", _LIFE, str(tmp_path), given.hex(), str(NOW_S)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            lines = [process.stdout.readline() for _ in range(20 + 37 * life)]
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.read().splitlines()
        whole = [line for line in lines if len(line.split()) == 2]
        assert whole[-1].split()[1] == "0"
        # One more message may have been under way.
        least += int(whole[-1].split()[0])
        most += int(whole[-1].split()[0]) + 5
    ledger = Ledger(tmp_path)
    assert least <= totals(ledger)[cells.COMPLETED] <= most
    assert list(tmp_path.glob("*.journal")) == [tmp_path / f"{ledger.epoch}.journal"]
    ledger.close()


@pytest.fixture
def ledger(tmp_path):
    opened = Ledger(tmp_path)
    begin(opened, "v1")
    yield opened
    opened.close()


def test_decisions_are_counted_as_started_in_their_second_by_the_table_that_made_them(ledger):
    canary = ("chat", "canary", "weight")
    ledger.count_started({canary: 3}, NOW_S)
    ledger.count_started({canary: 4}, NOW_S + 1)
    begin(ledger, "v2", decided={canary: 6}, now_s=NOW_S + 1.5)
    ledger.count_started({canary: 10}, NOW_S + 2)
    found = {
        (row.key.second - NOW_S, row.key.version): cells.unpack(row.counts)[cells.STARTED]
        for row in ledger.tick(NOW_S + 2)
    }
    assert found == {(0, "v1"): 3, (1, "v1"): 3, (2, "v2"): 4}


def failed(version):
    """A failed request of one and the same unit."""
    return message(
        entry(
            decisions={"chat": {**DECISION, "version": version}},
            code=503,
            start_us=(NOW_S - 2) * 10**6,
        )
    )


def rows_of(ledger, canary, decided):
    """What five decisions and a failure under each of two tables come to, by the row's version."""
    ledger.rows.take(failed("v1"), NOW_S * 10**6)
    ledger.count_started({canary: decided}, NOW_S - 2)
    ledger.rows.take(failed("v2"), NOW_S * 10**6)
    return {row.key.version: cells.unpack(row.counts) for row in ledger.tick(NOW_S)}


def test_a_neighbours_edit_begins_no_row_and_counts_no_unit_again(ledger):
    canary = ("chat", "canary", "weight")
    ledger.count_started({canary: 5}, NOW_S - 2)
    begin(ledger, "v2", changed=["neighbour"], decided={canary: 5}, now_s=NOW_S - 2)
    [(version, row)] = rows_of(ledger, canary, 10).items()
    assert version == "v1"
    assert (row[cells.STARTED], row[cells.ERRORS], row[cells.UNIT_ERRORS]) == (10, 2, 1)


def test_other_odds_of_its_own_begin_another_row_and_count_units_anew(ledger):
    canary = ("chat", "canary", "weight")
    ledger.count_started({canary: 5}, NOW_S - 2)
    begin(ledger, "v2", decided={canary: 5}, now_s=NOW_S - 2)
    rows = rows_of(ledger, canary, 10)
    assert rows.keys() == {"v1", "v2"}
    for row in rows.values():
        assert (row[cells.STARTED], row[cells.ERRORS], row[cells.UNIT_ERRORS]) == (5, 1, 1)


def test_started_and_completed_meet_in_one_row(ledger):
    ledger.count_started({("chat", "canary", "weight"): 2}, NOW_S - 2)
    ledger.rows.take(message(entry(start_us=(NOW_S - 2) * 10**6)), NOW_S * 10**6)
    [row] = ledger.tick(NOW_S)
    counts = cells.unpack(row.counts)
    assert (counts[cells.STARTED], counts[cells.COMPLETED]) == (2, 1)


def test_what_cannot_be_written_waits_and_comes_with_the_next_tick(ledger, tmp_path):
    ledger.count_started({("chat", "canary", "weight"): 1}, NOW_S)
    ledger.rows.take(message(entry(start_us=NOW_S * 10**6)), NOW_S * 10**6)
    kept, ledger.spool.add = ledger.spool.add, _refuse
    with pytest.raises(OSError, match="full"):
        ledger.tick(NOW_S)
    ledger.spool.add = kept
    ledger.rows.take(message(entry(start_us=NOW_S * 10**6)), NOW_S * 10**6)
    ledger.tick(NOW_S)
    ledger.tick(NOW_S)
    assert totals(ledger)[cells.COMPLETED] == 2
    assert totals(ledger)[cells.STARTED] == 1


def _refuse(*_):
    raise OSError("the disk is full")


def test_a_living_process_keeps_its_journal(ledger, tmp_path):
    other = Ledger(tmp_path)
    assert ledger.epoch != other.epoch
    assert len(list(tmp_path.glob("*.journal"))) == 2
    other.close()


def test_versions_of_earlier_lives_are_known(tmp_path):
    first = Ledger(tmp_path)
    begin(first, "v1")
    first.close()
    again = Ledger(tmp_path)
    again.rows.take(message(entry(start_us=NOW_S * 10**6)), NOW_S * 10**6)
    assert again.rows.counts()["taken"] == 1
    again.close()
