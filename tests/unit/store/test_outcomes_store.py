"""The controller's rows: written once however often they come, read by what is new."""

import pytest

from sidecar.analysis import cells
from sidecar.store import Outcomes, OutcomesError

COUNTS = cells.pack({cells.COMPLETED: 3, cells.ERRORS: 1})


@pytest.fixture
def store(tmp_path):
    opened = Outcomes(tmp_path / "outcomes.sqlite")
    yield opened
    opened.close()


def row(number=1, sequence=1, second=1000, *, rollout="chat", counts=COUNTS, epoch="e1"):
    return (
        "n1", epoch, number, sequence, second, rollout, "canary", "v1", "weight", counts,
    )  # fmt: skip


def states(rows):
    return [(one.number, one.sequence) for one in rows]


def test_the_same_report_twice_changes_nothing(store):
    store.add([row(), row(number=2)])
    before = store.news("chat")
    store.add([row(), row(number=2)])
    assert store.news("chat") == before
    assert store.news("chat", after=before[-1].seen) == []


@pytest.mark.parametrize("order", [(1, 5), (5, 1)])
def test_the_higher_sequence_is_true_in_whichever_order_they_come(store, order):
    for sequence in order:
        store.add([row(sequence=sequence, counts=cells.pack({cells.COMPLETED: sequence}))])
    [found] = store.news("chat")
    assert cells.unpack(found.counts) == {cells.COMPLETED: 5}


def test_whoever_reads_goes_on_where_it_stopped(store):
    store.add([row(1, 1), row(2, 2)])
    first = store.news("chat", most=1)
    store.add([row(1, 3)])
    assert states(first) == [(1, 1)]
    assert states(store.news("chat", after=first[-1].seen)) == [(2, 2), (1, 3)]


def test_numbers_of_different_epochs_and_rollouts_are_kept_apart(store):
    store.add([row(), row(epoch="e2"), row(number=3, rollout="shop")])
    assert [one.epoch for one in store.seconds("chat", 0, 5000)] == ["e1", "e2"]
    assert states(store.news("shop")) == [(3, 1)]


def test_old_rows_become_sums_by_the_hour_and_nothing_is_lost(store):
    store.add([row(1, 1, 3599), row(2, 2, 3600), row(3, 3, 3601), row(4, 4, 9000)])
    assert store.compact(7200) == 3
    assert states(store.news("chat")) == [(4, 4)]
    store.add([row(5, 5, 3602)])
    store.compact(7200)
    assert [(hour, counts[cells.COMPLETED]) for hour, _, _, _, counts in store.hours("chat")] == [
        (0, 3),
        (3600, 9),
    ]


def test_a_row_that_was_summed_up_and_comes_again_adds_nothing(store):
    old, young = row(1, 8, 1000), row(2, 9, 9000)
    store.add([old, young])
    store.compact(7200)
    store.add([old, young])
    assert states(store.news("chat")) == [(2, 9)]
    [(_, _, _, _, counts)] = store.hours("chat")
    store.compact(7200)
    assert counts[cells.COMPLETED] == 3
    assert store.hours("chat")[0][-1] == counts
    store.add([row(3, 10, 1001)])
    assert states(store.news("chat")) == [(2, 9), (3, 10)]


def test_rows_survive_the_process(tmp_path):
    first = Outcomes(tmp_path / "outcomes.sqlite")
    first.add([row()])
    first.close()
    again = Outcomes(tmp_path / "outcomes.sqlite")
    assert states(again.news("chat")) == [(1, 1)]
    again.close()


def test_a_second_controller_and_somebody_elses_file_are_refused(store, tmp_path):
    with pytest.raises(OutcomesError, match="cannot be used"):
        Outcomes(tmp_path / "outcomes.sqlite")
    (tmp_path / "other").write_bytes(b"x" * 4096)
    with pytest.raises(OutcomesError, match="other cannot be used"):
        Outcomes(tmp_path / "other")
