"""The engine that runs is the one asked for, and is named; none is replaced in silence."""

import shutil
import sys
from pathlib import Path

import pytest

from bench.lab.process import Child, wait_until

ROOT = Path(__file__).parents[2]
CANARY = (sys.executable, "-c", "from sidecar.cli import main; main()")
ROLLOUTS = str(ROOT / "deploy" / "examples" / "rollouts")


@pytest.fixture
def work(tmp_path_factory):
    """A short path: sockets lie below it."""
    return tmp_path_factory.mktemp("w")


@pytest.fixture(scope="module")
def without_transport(tmp_path_factory):
    """The package as a build with CANARY_NO_TRANSPORT=1 leaves it."""
    there = tmp_path_factory.mktemp("package")
    left_out = shutil.ignore_patterns("_transport*.so", "__pycache__")
    shutil.copytree(ROOT / "sidecar", there / "sidecar", ignore=left_out)
    return there


def canary(work, *words, **env):
    places = {"CANARY_RUN_DIR": str(work / "run"), "CANARY_STATE_DIR": str(work / "state")}
    path = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return Child(f"canary-{words[0]}", [*CANARY, *words], work, env={**path, **places, **env})


def output(work, *words, status=0, **env):
    with canary(work, *words, **env) as child:
        assert child.wait(30) == status
        return child.log.read_text()


def test_native_asked_for_where_it_was_not_built_is_refused_with_the_remedy(
    without_transport, work
):
    said = output(work, "sidecar", status=1, PYTHONPATH=str(without_transport))
    assert "the engine 'native' is not available: it was built without its transport" in said
    assert "libnghttp2-dev" in said
    assert "--engine grpcio" in said
    assert "serving" not in said


def test_a_missing_library_is_named_with_the_remedy(work):
    # The loader finds this one first, and cannot use it.
    (work / "libnghttp2.so.14").touch()
    said = output(work, "sidecar", status=1, LD_LIBRARY_PATH=str(work))
    assert "the engine 'native' is not available" in said
    assert "libnghttp2.so.14" in said
    assert "libnghttp2-14" in said
    assert "serving" not in said


def shown(work, **env):
    """What the log and `canary status` say of a running process."""
    with canary(work, "up", ROLLOUTS, **env) as child:
        kept = work / "state" / "sidecar.resources"
        wait_until("a table", kept.exists, alive=[child])
        status = output(work, "status", **env)
        assert child.stop() == 0
        return child.log.read_text(), status


def test_without_being_asked_it_is_native_and_log_and_status_say_so(work):
    log, status = shown(work)
    [serving] = [line for line in log.splitlines() if "sidecar serving" in line]
    assert "native" in serving
    assert "engine native" in status


def test_where_native_was_not_built_grpcio_works_and_is_named(without_transport, work):
    env = {"PYTHONPATH": str(without_transport), "CANARY_ENGINE": "grpcio"}
    log, status = shown(work, **env)
    [serving] = [line for line in log.splitlines() if "sidecar serving" in line]
    assert "grpcio" in serving
    assert "engine grpcio" in status
