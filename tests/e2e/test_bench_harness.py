"""The benchmark's harness, against real Envoys: what counts, and above all what does not."""

import io
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from rich.console import Console

from bench.contenders import TASK, Missing
from bench.contenders.alone import Alone
from bench.contenders.floor import Floor
from bench.contenders.grpc_aio import HERE, GrpcAio
from bench.harness import h2load, report, rounds
from bench.harness.cell import Counts
from bench.harness.figures import BY_KEY, Figures
from bench.harness.rounds import AGAIN, Plan
from bench.lab.process import LabError
from bench.lab.stack import ROOT

FEW = Plan(rounds=1, counts=Counts(one=20, paced=10, full=100, rate=100.0, idle_s=0.02))


class AlwaysCandidate(GrpcAio):
    """Serves, answers everything, decides wrongly."""

    name = "always candidate"
    task = replace(TASK, percent=100)


class Lazy(GrpcAio):
    """Answers rightly, until it has answered enough."""

    name = "lazy"
    answers = 150
    script = f"""
import itertools, sys
sys.path.insert(0, {str(HERE)!r})
import server
class Lazy(server.Processor):
    made = itertools.count()
    def _answer(self, request):
        if next(self.made) >= {answers}:
            raise RuntimeError("enough")
        return super()._answer(request)
server.Processor = Lazy
server.main()
"""

    def command(self):
        return [sys.executable, "-c", self.script]


class Absent(GrpcAio):
    """Needs what is not here."""

    name = "absent"

    def prepare(self):
        raise Missing("a compiler for it")


class Dead(GrpcAio):
    """Ends before it serves."""

    name = "dead"

    def command(self):
        return [sys.executable, "-c", "raise SystemExit('no such thing')"]


@pytest.fixture(scope="module")
def measured():
    contenders = [Alone(), GrpcAio(), AlwaysCandidate(), Lazy(), Absent(), Dead()]
    return rounds.run(contenders, GrpcAio.name, FEW, say=lambda _: None)


def test_a_right_contender_counts_and_so_does_envoy_alone(measured):
    for name in (GrpcAio.name, GrpcAio.name + AGAIN, Alone.name):
        assert measured.row(name).counting, measured.row(name)
        [cell] = measured.row(name).cells
        assert {name: phase.requests for name, phase in cell.phases.items()} == {
            "one": 20,
            "paced": 10,
            "full": 100,
        }


def test_figures_are_those_of_real_processes(measured):
    figures = Figures(measured)
    aio = measured.row(GrpcAio.name)
    assert figures.median(aio, BY_KEY["full_handler_us"]) > 20
    assert figures.median(aio, BY_KEY["one_p50_us"]) > 50
    assert figures.median(aio, BY_KEY["rss_mb"]) > 20
    assert figures.median(measured.row(Alone.name), BY_KEY["rss_mb"]) == 0


def test_a_wrong_answer_excludes(measured):
    row = measured.row(AlwaysCandidate.name)
    assert not row.counting
    assert row.cells == []
    assert "should be" in row.out


def test_failures_under_load_leave_no_figure(measured):
    row = measured.row(Lazy.name)
    assert row.out == ""
    assert row.failed["streams_failed"] > 0
    assert row.failed["failure_mode_allowed"] > 0
    assert not row.counting
    assert Figures(measured).ratio(BY_KEY["handler_us"], Lazy.name, GrpcAio.name) is None


def test_a_failed_turn_is_taken_again_only_as_often_as_allowed_and_is_told():
    run = rounds.run([Lazy()], Lazy.name, replace(FEW, retries=1), say=lambda _: None)
    row = run.row(Lazy.name)
    assert [one["streams_failed"] > 0 for one in row.again] == [True]
    assert len(row.cells) == 1
    assert not row.counting
    console = Console(width=200, file=io.StringIO())
    report.show(run, Figures(run), [], console)
    assert f"{Lazy.name} took a turn again: {{'streams_failed':" in console.file.getvalue()


def test_together_everybody_keeps_its_processes_and_counts_only_a_rounds_own_failures():
    pids = []

    class Watched(Floor):
        def start(self, socket):
            pids.extend(super().start(socket))
            return pids[-1:]

    run = rounds.run(
        [Alone(), Watched()],
        Watched.name,
        replace(FEW, rounds=3, retries=2, together=True),
        say=lambda _: None,
    )
    # The reference and its second turn: one process each, for all rounds.
    assert len(pids) == len(set(pids)) == 2
    for row in run.rows:
        assert row.counting, row
        assert [one.phases["full"].requests for one in row.cells] == [100, 100, 100]


def test_who_cannot_take_part_is_named_with_the_reason(measured):
    assert measured.row(Absent.name).missing == "a compiler for it"
    assert measured.row(Absent.name).out == ""
    assert "no such thing" in measured.row(Dead.name).out


def test_the_report_says_who_does_not_count_and_why(measured):
    console = Console(width=200, file=io.StringIO())
    report.show(measured, Figures(measured), [], console)
    text = console.file.getvalue()
    for name in (AlwaysCandidate.name, Lazy.name, Dead.name):
        assert f"{name} does not count:" in text
    assert f"{Absent.name} is left out: a compiler for it" in text
    assert "A/A" in text
    assert "failure_mode_allowed" in text


def test_without_the_load_generator_its_package_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(LabError, match="apt-get install nghttp2-client"):
        h2load.check_installed()


def test_quick_mode_from_end_to_end(tmp_path):
    argv = [sys.executable, "-m", "bench.harness", "--quick", "--rounds", "1", "--seed", "7"]
    argv += ["--contender", "canary-grpcio", "--contender", "floor", "--out", str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seed 7" in done.stdout
    kept = json.loads((tmp_path / "harness.json").read_text())
    names = {"envoy alone", "canary-grpcio", "floor", "canary-grpcio (again)"}
    assert set(kept["rows"]) == names
    assert all(row["counts"] for row in kept["rows"].values())
    assert sorted(kept["orders"][0]) == sorted(kept["rows"])
    assert ET.parse(tmp_path / "harness.svg").getroot().tag.endswith("svg")
