"""The benchmarks that take long when they are meant, shortened: do they work, do they notice?"""

import pytest
from rich.console import Console

from bench import churn, scale
from bench.contenders.canary import Observed
from bench.harness import cell
from bench.lab.process import wait_until
from sidecar import extproc
from sidecar.control.calls import UnreachableError

QUIET = Console(quiet=True)


@pytest.mark.parametrize("engine", extproc.ENGINES)
def test_weights_move_under_load_and_nothing_fails(engine):
    churned = churn.churn(engine, requests=800, period_s=0.02, say=QUIET, connections=4)
    assert not any(churned.failures.values()), churned.failures
    assert {"streams_failed", "message_timeouts", "failure_mode_allowed"} < set(churned.failures)
    assert churned.changes > 1
    assert churned.first_rss_mb > 10


def test_a_controller_that_does_not_answer_ends_the_changes_with_the_reason(tmp_path):
    with churn.Changer(f"unix://{tmp_path}/nobody.sock", period_s=0.01) as changer:
        changer.join(30)
    assert isinstance(changer.error, UnreachableError)
    assert changer.changes == 0


@pytest.mark.parametrize("engine", extproc.ENGINES)
def test_ours_with_everything_on_really_tells_a_collector(engine):
    with cell.opened(Observed(engine)) as bench:
        bench.closed(300)
        log = bench.work / "collector.log"
        for signal in ("trace", "metrics"):
            wait_until(f"{signal} arrive", lambda s=signal: f".{s}." in log.read_text())
        assert not any(bench.failures().values()), bench.failures()


def test_many_rollouts_are_measured_beside_one():
    scaled = scale.scale("native", rollouts=20, requests=600, say=QUIET, rounds=2)
    assert scaled.failed == {}
    assert len(scaled.handler_us) == len(scaled.rss_mb) == len(scaled.failures) == 3
    assert all(0 < us < 1000 for us in scaled.handler_us)
    assert abs(scaled.more_mb) < 16
