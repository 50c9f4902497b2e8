"""What the doctor makes of the processes' own state."""

from datetime import UTC, datetime, timedelta

import pytest

from sidecar.cli.standing import judged
from sidecar.control.calls import UnreachableError
from sidecar.control.messages import timestamp
from sidecar.control.pb import control_pb2 as pb

NOW = datetime(2026, 1, 1, tzinfo=UTC)
UNSEEN = pb.Forwarding(said=1, unseen=[pb.Unseen(what="header 'a'", rollout="r", rollouts=2)])
NOBODY = UnreachableError("no one answers at unix:///run/x.sock", remedy="start one")


def sidecar(**changes):
    status = pb.SidecarStatus(ready=True, node="edge")
    status.table.version = "t1"
    status.table.since.CopyFrom(timestamp(NOW))
    status.control_stream.connected = True
    status.control_stream.address = "unix:///run/control.sock"
    status.MergeFrom(pb.SidecarStatus(**changes))
    return status


def controller(**changes):
    status = pb.ControllerStatus(version="t1")
    status.MergeFrom(pb.ControllerStatus(**changes))
    return status


def nack(after):
    return pb.Refusal(at=timestamp(NOW + after), version="t2", reason="resource 'chat': ...")


def ids(*sides):
    found = list(judged(*sides))
    assert all(one.where and one.message and one.remedy for one in found)
    return [one.id for one in found]


def test_all_well():
    assert ids(sidecar(), controller()) == []


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        ((NOBODY, controller()), ["sidecar-unreachable"]),
        ((sidecar(), NOBODY), ["controller-unreachable"]),
        ((NOBODY, NOBODY), ["controller-unreachable", "sidecar-unreachable"]),
        ((sidecar(), controller(version="t2")), ["table-behind"]),
        ((sidecar(last_nack=nack(timedelta(1))), controller(version="t2")), ["table-refused"]),
        ((sidecar(last_nack=nack(-timedelta(1))), controller()), []),
        ((sidecar(forwarding=UNSEEN), controller()), ["input-unseen"]),
        (
            (sidecar(), controller(mistakes=[pb.FileMistake(file="a.yaml", message="no")])),
            ["files-refused"],
        ),
    ],
)
def test_each_state_has_its_finding(sides, expected):
    assert ids(*sides) == expected


def test_a_sidecar_that_never_had_a_table_is_not_ready_and_may_have_refused_one():
    status = pb.SidecarStatus(node="edge", last_nack=nack(timedelta(0)))
    assert ids(status, controller()) == ["sidecar-not-ready", "stream-down", "table-refused"]


def test_a_broken_control_stream_is_told_by_the_kind_of_its_error():
    status = sidecar()
    status.control_stream.connected = False
    status.control_stream.last_error = "UNAVAILABLE: failed to connect to all addresses; ..."
    [found] = judged(status, controller())
    assert found.id == "stream-down"
    assert "(UNAVAILABLE)" in found.message


def test_a_refused_file_keeps_its_own_remedy():
    mistake = pb.FileMistake(file="a.yaml", message="a.yaml:1:1: no kind\n  remedy: write kind")
    [found] = judged(sidecar(), controller(mistakes=[mistake]))
    assert found.remedy == "write kind"
    assert "a.yaml:1:1: no kind" in found.message
