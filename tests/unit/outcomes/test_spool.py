"""The spool: every count once, whatever happens between."""

import pytest

from sidecar.analysis import cells
from sidecar.outcomes.spool import OPEN_S, Key, Spool, SpoolError

KEY = Key(1000, "chat", "canary", "v1", "weight")
LATER = KEY._replace(second=1001)


@pytest.fixture
def spool(tmp_path):
    opened = Spool(tmp_path / "outcomes.sqlite", most_rows=10)
    yield opened
    opened.close()


def completed(spool):
    return {
        (row.epoch, row.key): cells.unpack(row.counts)[cells.COMPLETED] for row in spool.pending()
    }


def test_a_row_rises_and_keeps_its_number(spool):
    [first] = spool.add("e", 1, [(KEY, {cells.COMPLETED: 2})])
    [second] = spool.add("e", 2, [(KEY, {cells.COMPLETED: 3, cells.ERRORS: 1})])
    assert first.number == second.number
    assert first.sequence < second.sequence
    assert cells.unpack(second.counts) == {cells.COMPLETED: 5, cells.ERRORS: 1}
    assert spool.pending() == [second]


def test_a_half_that_was_taken_adds_nothing(spool):
    counted = [(KEY, {cells.COMPLETED: 1})]
    spool.add("e", 7, counted)
    assert spool.add("e", 7, counted) == []
    assert spool.add("other", 7, counted) != []
    assert completed(spool) == {("e", KEY): 1, ("other", KEY): 1}


def test_the_same_row_twice_in_one_half_is_one_row(spool):
    [row] = spool.add("e", 1, [(KEY, {cells.COMPLETED: 1}), (KEY, {cells.COMPLETED: 1})])
    assert cells.unpack(row.counts) == {cells.COMPLETED: 2}


def test_what_was_acknowledged_is_not_pending_until_it_rises_again(spool):
    [row] = spool.add("e", 1, [(KEY, {cells.COMPLETED: 1})])
    spool.acknowledge(row.sequence)
    assert spool.pending() == []
    spool.add("e", 2, [(KEY, {cells.COMPLETED: 1})])
    assert completed(spool) == {("e", KEY): 2}


def test_an_acknowledgement_of_what_was_never_sent_is_not_believed(spool):
    spool.add("e", 1, [(KEY, {cells.COMPLETED: 1})])
    spool.acknowledge(10**9)
    spool.add("e", 2, [(LATER, {cells.COMPLETED: 1})])
    assert completed(spool) == {("e", LATER): 1}


def test_a_late_outcome_of_a_row_that_was_forgotten_makes_a_row_of_its_own(spool):
    [row] = spool.add("e", 1, [(KEY, {cells.COMPLETED: 1})])
    spool.acknowledge(row.sequence)
    assert spool.tidy(KEY.second + OPEN_S + 1) == 0
    [late] = spool.add("e", 2, [(KEY, {cells.COMPLETED: 1})])
    assert late.number != row.number
    assert cells.unpack(late.counts) == {cells.COMPLETED: 1}


def test_a_row_whose_time_is_over_does_not_rise_any_more(spool):
    [row] = spool.add("e", 1, [(KEY, {cells.COMPLETED: 1})], KEY.second + OPEN_S)
    [late] = spool.add("e", 2, [(KEY, {cells.COMPLETED: 1})], KEY.second + OPEN_S + 1)
    assert late.number != row.number
    assert spool.pending() == [row, late]


def test_rows_that_nobody_acknowledged_stay_and_beyond_the_bound_the_oldest_go_and_are_counted(
    spool,
):
    spool.add("e", 1, [(KEY._replace(second=s), {cells.COMPLETED: 1}) for s in range(15)])
    assert spool.tidy(10**6) == 5
    assert spool.standing() == (10, 5)
    assert sorted(key.second for _, key in completed(spool)) == list(range(5, 15))


def test_everything_survives_the_process(tmp_path):
    path = tmp_path / "outcomes.sqlite"
    first = Spool(path)
    [row, _] = first.add("e", 3, [(KEY, {cells.COMPLETED: 1}), (LATER, {cells.COMPLETED: 1})])
    first.acknowledge(row.sequence)
    first.know("v1", [("chat", "canary")], 5)
    first.close()
    again = Spool(path)
    assert completed(again) == {("e", LATER): 1}
    assert again.add("e", 3, [(KEY, {cells.COMPLETED: 1})]) == []
    assert again.known() == (["v1"], [("chat", "canary")])
    again.close()


def test_a_file_that_is_no_database_is_named_with_the_remedy(tmp_path):
    path = tmp_path / "outcomes.sqlite"
    path.write_bytes(b"not a database, but long enough to be taken for one" * 50)
    with pytest.raises(SpoolError, match=r"outcomes\.sqlite cannot be used"):
        Spool(path)
