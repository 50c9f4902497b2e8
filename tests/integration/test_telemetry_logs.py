"""What processes write to stderr: for people, for machines, with the trace that caused it."""

import json
import signal

import grpc
import pytest
from app_lab import USERS, House
from control_lab import short_dir
from telemetry_lab import traceparent

from bench.lab.process import wait_until
from sidecar.control.pb import control_pb2 as pb

SET_WEIGHTS = "/canary.v1.RolloutService/SetWeights"


@pytest.fixture
def house():
    with short_dir() as root, House(root) as made:
        made.write()
        yield made


def lines(child):
    return [json.loads(line) for line in child.log.read_text().splitlines()]


def test_json_lines_hold_what_happened_and_nothing_per_request(house):
    house.env["CANARY_LOG_FORMAT"] = "json"
    up = house.up()
    before = len(lines(up))
    house.answers()
    assert len(lines(up)) == before
    [serving] = [line for line in lines(up) if line["message"] == "sidecar serving"]
    assert serving["severity"] == "INFO"
    assert serving["engine"] == "native"
    assert serving["timestamp"].endswith("+00:00")
    assert not any("trace_id" in line for line in lines(up))


def test_a_change_is_logged_with_the_trace_of_who_asked_for_it(house):
    house.env["CANARY_LOG_FORMAT"] = "json"
    up = house.up()
    request = pb.SetWeightsRequest(rollout="chat", who="ci")
    request.weights.add(variant="canary", weight="50")
    with grpc.insecure_channel(house.settings.control) as channel:
        call = channel.unary_unary(
            SET_WEIGHTS, request_serializer=pb.SetWeightsRequest.SerializeToString
        )
        call(request, timeout=10, metadata=[("traceparent", traceparent(11, 12))])
    [change] = [line for line in lines(up) if line.get("who") == "ci"]
    assert change["trace_id"] == f"{11:032x}"
    assert change["span_id"] == f"{12:016x}"


@pytest.mark.parametrize("name", ["sidecar", "controller", "up"])
def test_usr1_tells_how_it_stands_in_one_line_per_variant(house, name):
    if name == "up":
        told = house.up()
    else:
        both = {"controller": house.start("controller", house.folder)}
        both["sidecar"] = house.start("sidecar")
        house.until_ready(*both.values())
        told = both[name]
    house.answers()
    told.kill(signal.SIGUSR1)

    def said(what):
        return [line for line in told.log.read_text().splitlines() if f" info {what} " in line]

    if name != "controller":
        wait_until("decisions", lambda: len(said("decisions")) == 2, alive=[told])
        counts = [int(line.rpartition("weight=")[2]) for line in said("decisions")]
        assert sum(counts) == len(USERS)
        assert "rollout=chat variant=canary" in said("decisions")[0]
    if name != "sidecar":
        wait_until("weights", lambda: len(said("weight in force")) == 2, alive=[told])
        assert "rollout=chat variant=stable weight=95" in said("weight in force")[0]
    assert told.stop() == 0
