"""What the long benchmarks make of their own findings."""

import pytest

from bench import scale
from bench.churn import Churned
from bench.harness.cell import Phase
from bench.harness.ratios import Interval
from bench.lab.process import LabError

CLEAN = {"streams_failed": 0, "message_timeouts": 0, "load": 0}


def churned(changes=100, **failures):
    return Churned("native", 1000, 10.0, changes, 100, CLEAN | failures, 70.0, 70.0)


def test_a_run_without_a_failure_is_well():
    assert churned().well


@pytest.mark.parametrize("name", CLEAN)
def test_one_failure_of_any_kind_is_enough(name):
    assert not churned(**{name: 1}).well


def test_a_run_whose_weights_hardly_moved_shows_nothing():
    assert churned(changes=90).well
    assert not churned(changes=89).well


def scaled(ratio=1.0, rss=80.0, noise=1.0, **failures):
    return scale.Scaled(
        engine="native",
        rollouts=10_000,
        requests=1000,
        handler_us=[5.0, 5.0, 5.0],
        cpu_ratio=Interval(ratio - 0.05, ratio, ratio + 0.05),
        noise=Interval(1 / noise, 1.0, noise),
        rss_mb=[rss, 70.0, 70.0],
        peak_rss_mb=[90.0, 70.0, 70.0],
        failures=[CLEAN, CLEAN | failures, CLEAN],
    )


@pytest.mark.parametrize(("ratio", "word"), [(1.2, "holds"), (1.3, "undecided"), (1.4, "refuted")])
def test_the_cpu_of_many_rollouts_is_judged_by_its_whole_interval(ratio, word):
    assert scaled(ratio).cpu.word == word
    assert scaled(ratio).well is (word != "refuted")


def test_noise_keeps_a_verdict_open():
    assert scaled(1.2, noise=1.5).cpu.word == "undecided"


def test_memory_beyond_the_bound_is_not_well():
    assert scaled(rss=86.0).well
    assert not scaled(rss=86.1).well


def test_a_failure_in_any_of_the_three_is_named():
    assert scaled(message_timeouts=2).failed == {"message_timeouts": 2}
    assert not scaled(message_timeouts=2).well


def test_a_load_too_short_to_have_cpu_is_said():
    phase = Phase(1, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0)
    with pytest.raises(LabError, match="more requests"):
        scale.over([phase], [phase])
