"""Who takes part, what is claimed about whom, and what happens where a tool is not there."""

import sys

import pytest

from bench.contenders import Missing, building, by_name, line_up
from bench.contenders.floor import Floor, answer
from bench.harness.claims import CLAIMS
from bench.harness.figures import BY_KEY
from bench.lab.process import LabError
from sidecar import extproc
from sidecar.errors import CanaryError


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.metric}-{claim.over}")
def test_a_claim_is_about_rows_and_figures_that_exist(claim):
    # A name nobody has would leave the claim out of every verdict.
    assert claim.metric in BY_KEY
    assert {claim.over, *claim.under} <= set(by_name())


def test_names_are_unique_and_envoy_alone_comes_first():
    names = [one.name for one in line_up()]
    assert len(set(names)) == len(names)
    assert [one.name for one in line_up() if not one.decides] == names[:1]


@pytest.mark.parametrize("name", ["floor", "grpc++", "grpc-go", "tonic"])
def test_without_its_tools_a_contender_says_what_to_install(name, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Missing, match="apt-get install"):
        by_name()[name].prepare()


def test_an_engine_that_was_not_built_is_left_out_with_its_remedy(monkeypatch):
    def absent(address, *, socket_mode):
        raise CanaryError("not built", remedy="build it")

    monkeypatch.setitem(extproc.ENGINES, "native", absent)
    with pytest.raises(Missing, match="build it"):
        by_name()["canary-native"].prepare()


def test_without_a_library_its_package_is_named():
    with pytest.raises(Missing, match="apt-get install libnothing-dev"):
        building.libraries(["nothing-of-this-name"], "libnothing-dev")


def test_a_build_that_fails_is_an_error_with_the_tools_last_words(tmp_path):
    with pytest.raises(LabError, match="no such symbol"):
        building.build([sys.executable, "-c", "raise SystemExit('no such symbol')"], tmp_path)


def test_only_what_is_older_than_its_sources_is_built_again(tmp_path):
    source, made = tmp_path / "source", tmp_path / "made"
    source.touch()
    assert building.newer([source], made)
    made.touch()
    assert not building.newer([source], made)


def test_the_floors_answer_is_that_of_the_native_core_for_one_user():
    said = answer(Floor.answers_as)
    assert b"x-canary-chat-model" in said
    assert b"weight" in said
    assert said != answer("somebody else")
