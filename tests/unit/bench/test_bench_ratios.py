"""The harness's arithmetic against cases whose answers are known."""

import math
import os
import time
from types import SimpleNamespace

import pytest

from bench.harness import claims, h2load, meter, ratios
from bench.harness.cell import Cell, Phase
from bench.harness.claims import Claim
from bench.harness.figures import BY_KEY, Figures
from bench.harness.ratios import Interval
from bench.harness.rounds import AGAIN, Plan, Row, Run


def test_a_constant_ratio_has_no_spread():
    assert ratios.ratio([2, 4, 6], [1, 2, 3], seed=1) == Interval(2, 2, 2)


def test_two_rounds_are_as_wide_as_they_are():
    assert ratios.interval([1, 3], seed=1) == Interval(1, 2, 3)


def test_many_rounds_have_the_interval_of_the_binomial():
    # The median's 90 % interval lies 1.645 * sqrt(n)/2 ranks to either side.
    found = ratios.interval(list(range(1, 402)), seed=3)
    assert found.middle == 201
    assert found.low == pytest.approx(201 - 1.645 * math.sqrt(401) / 2, abs=3)
    assert found.high == pytest.approx(201 + 1.645 * math.sqrt(401) / 2, abs=3)


def test_the_same_seed_gives_the_same_interval():
    values = [1.0, 1.2, 0.9, 1.1, 3.0]
    assert ratios.interval(values, seed=5) == ratios.interval(values, seed=5)


@pytest.mark.parametrize(("over", "under"), [([], []), ([1, 2], [1, 0]), ([1, -1], [1, 1])])
def test_what_has_no_ratio_has_none(over, under):
    assert ratios.ratio(over, under, seed=1) is None


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (Interval(1.2, 1.3, 1.4), "more"),
        (Interval(1.05, 1.3, 1.4), "same"),
        (Interval(0.8, 0.85, 0.95), "same"),
        (Interval(0.7, 0.8, 0.9), "less"),
    ],
)
def test_a_difference_must_exceed_the_noise(found, verdict):
    # A/A between 0.92 and 1.05: off by a factor of 1/0.92 at most.
    assert ratios.verdict(found, Interval(0.92, 1.0, 1.05).noise) == verdict


def test_percentiles_are_by_nearest_rank():
    answers = h2load.Answers(100, 0, 1.0, tuple(range(1, 101)))
    assert (answers.percentile_us(50), answers.percentile_us(99)) == (50, 99)
    assert h2load.Answers(1, 0, 1.0, (7,)).percentile_us(99) == 7


def test_a_log_gives_latencies_failures_and_the_time_it_took():
    log = "1000000\t200\t500\n1000200\t503\t100\n1001000\t-1\t50\n1400000\t204\t100000\n"
    answers = h2load.read(log, requests=5)
    assert answers == h2load.Answers(5, 3, 0.5, (500, 100000))
    assert answers.rps == 4


def test_no_answers_at_all_are_failures():
    answers = h2load.read("", requests=3)
    assert (answers.failed, answers.rps) == (3, 0)


@pytest.mark.parametrize("rate", [10, 37, 80, 333, 500, 730, 999, 1234, 4000, 12345])
def test_connections_begin_few_at_once_and_leave_no_gap(rate):
    clients, at_once, period_ms = h2load.spread(rate)
    assert at_once <= max(1, rate / 1000)
    # In units of the interval in which each client has one request.
    assert 1 <= (period_ms / 1000 / at_once) * rate < 2
    assert clients / rate == pytest.approx(h2load.INTERVAL_S, rel=0.1)


def test_a_missed_rate_is_noticed():
    assert h2load.kept(h2load.Answers(1000, 0, 2.05, ()), rate=500)
    assert not h2load.kept(h2load.Answers(1000, 0, 2.5, ()), rate=500)


def test_cpu_is_what_the_process_itself_says():
    before, own = meter.usage([os.getpid()]), time.process_time_ns()
    sum(range(2_000_000))
    used = meter.usage([os.getpid()]) - before
    assert used.cpu_ns == pytest.approx(time.process_time_ns() - own, rel=0.1)
    assert meter.machine_ns() >= used.cpu_ns
    assert meter.peak_rss_bytes([os.getpid()]) > 10_000_000


def cell(handler_us, envoy_us=50.0, **failures):
    phase = Phase(100, 1000.0, 100.0, 900.0, handler_us, envoy_us, 1.0, 0.1)
    return Cell({"one": phase, "paced": phase, "full": phase}, 40.0, 10.0, failures)


def run_of(rows):
    made = [
        Row(name, SimpleNamespace(decides=name != "alone"), cells) for name, cells in rows.items()
    ]
    return Run(Plan(), "ours", made)


ROWS = {
    "alone": [cell(0, 30), cell(0, 40), cell(0, 50)],
    "ours": [cell(10, 60), cell(11, 80), cell(10, 100)],
    "ours" + AGAIN: [cell(10, 60), cell(10, 80), cell(11, 100)],
    "fast": [cell(5, 60), cell(5, 80), cell(5, 100)],
    "slow": [cell(100, 60), cell(90, 80), cell(110, 100)],
}


def test_added_figures_are_against_envoy_alone_in_the_same_round():
    run = run_of(ROWS)
    figures, metric = Figures(run), BY_KEY["envoy_us"]
    assert figures.series(run.row("ours"), metric) == [30, 40, 50]
    assert figures.series(run.row("alone"), metric) == [30, 40, 50]


def test_a_row_with_one_failure_has_no_figures():
    run = run_of(ROWS | {"slow": [cell(100), cell(90, message_timeouts=1), cell(110)]})
    figures, metric = Figures(run), BY_KEY["handler_us"]
    assert not run.row("slow").counting
    assert figures.series(run.row("slow"), metric) == []
    assert figures.ratio(metric, "slow", "ours") is None
    assert figures.ratio(metric, "fast", "ours") is not None


@pytest.mark.parametrize(
    ("at_most", "word"), [(0.2, "holds"), (0.1, "undecided"), (0.05, "refuted")]
)
def test_a_claim_holds_only_with_its_whole_interval(at_most, word):
    figures = Figures(run_of(ROWS))
    [verdict] = claims.judge(figures, [Claim("handler_us", "ours", ("slow",), at_most)])
    assert verdict.word == word


def test_a_claim_within_the_noise_is_undecided():
    # The reference is off by a factor of 1.5 against itself.
    noisy = ROWS | {"ours" + AGAIN: [cell(15), cell(16.5), cell(15)]}
    words = {}
    for at_most in (0.05, 0.08, 0.12, 0.2):
        claim = Claim("handler_us", "ours", ("slow",), at_most)
        [verdict] = claims.judge(Figures(run_of(noisy)), [claim])
        words[at_most] = verdict.word
    assert words == {0.05: "refuted", 0.08: "undecided", 0.12: "undecided", 0.2: "holds"}


def test_no_claim_without_its_noise():
    rows = {name: cells for name, cells in ROWS.items() if not name.endswith(AGAIN)}
    [verdict] = claims.judge(Figures(run_of(rows)), [Claim("handler_us", "ours", ("slow",), 0.9)])
    assert verdict.word == "undecided"


def test_a_claim_is_held_against_the_cheapest():
    claim = Claim("handler_us", "ours", ("slow", "fast", "absent"), 1.0)
    [verdict] = claims.judge(Figures(run_of(ROWS)), [claim])
    assert (verdict.against, verdict.word) == ("fast", "refuted")


def test_a_peer_that_was_not_measured_is_named_beside_the_verdict():
    claim = Claim("handler_us", "ours", ("slow", "absent"), 0.2)
    [verdict] = claims.judge(Figures(run_of(ROWS)), [claim])
    assert (verdict.word, verdict.without) == ("holds", ("absent",))


def test_a_peer_that_failed_might_have_been_the_cheapest():
    run = run_of(ROWS | {"fast": [cell(5), cell(5, message_timeouts=1), cell(5)]})
    claim = Claim("handler_us", "ours", ("slow", "fast"), 0.2)
    [verdict] = claims.judge(Figures(run), [claim])
    assert (verdict.against, verdict.word, verdict.without) == ("slow", "undecided", ("fast",))
    run.row("fast").missing = "no compiler"
    [verdict] = claims.judge(Figures(run), [claim])
    assert verdict.word == "holds"


def test_a_claim_about_an_absent_row_is_no_verdict():
    claim = Claim("handler_us", "ours", ("absent",), 1.0)
    assert claims.judge(Figures(run_of(ROWS)), [claim]) == []
