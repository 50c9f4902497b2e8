"""`canary doctor` on running processes, in states that a machine can really be in."""

import signal

import pytest
from app_lab import House
from control_lab import short_dir

# No Envoy here: tests/e2e has those.
NO_ENVOY = ("error", "admin-unreachable")


@pytest.fixture
def house():
    with short_dir() as root, House(root) as house:
        house.write()
        yield house


def examined(house):
    status, said = house.run("doctor", "--admin", "127.0.0.1:1")
    found = [tuple(one.split()[:2]) for one in said.splitlines() if "; remedy: " in one]
    assert status == 1
    assert NO_ENVOY in found
    return sorted(set(found) - {NO_ENVOY})


def test_a_pair_in_step_is_healthy_until_one_of_them_goes(house):
    controller = house.start("controller", house.folder)
    sidecar = house.start("sidecar")
    house.until_ready(controller, sidecar)
    house.until_agreed(controller, sidecar)
    assert examined(house) == []
    house.write("broken.yaml", "apiVersion: canary.dev/v1\nkind: Rollout\n")
    house.until("the mistake is known", lambda: house.controller().mistakes, controller)
    assert examined(house) == [("warning", "files-refused")]
    controller.kill(signal.SIGKILL)
    house.until("it is missed", lambda: not house.sidecar().control_stream.connected, sidecar)
    assert examined(house) == [("warning", "controller-unreachable"), ("warning", "stream-down")]
    sidecar.kill(signal.SIGKILL)
    assert sidecar.wait(10) != 0
    assert examined(house) == [
        ("error", "sidecar-unreachable"),
        ("warning", "controller-unreachable"),
    ]


def test_a_sidecar_that_never_met_a_controller_is_not_ready(house):
    sidecar = house.start("sidecar")
    house.until("it answers", lambda: not house.sidecar().ready, sidecar)
    assert examined(house) == [
        ("error", "sidecar-not-ready"),
        ("warning", "controller-unreachable"),
        ("warning", "stream-down"),
    ]
