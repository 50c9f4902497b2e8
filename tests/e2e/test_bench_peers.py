"""The compiled contenders, each against a real Envoy and a plain gRPC client.

The floor is compiled here; the others only where `make bench-peers-build` has built them.
"""

from pathlib import Path

import grpc
import pytest
from messages import request_headers

from bench.contenders.floor import MADE, Floor, answer
from bench.contenders.grpc_cpp import GrpcCpp
from bench.contenders.grpc_go import GrpcGo
from bench.contenders.tonic import Tonic
from bench.harness import cell, dialogue, scene
from bench.harness.dialogue import WrongAnswerError
from bench.lab.envoy import Envoy
from bench.lab.load import user
from bench.lab.process import Child, wait_until
from sidecar.extproc import SERVICE

# Beyond the thousand resets after which nghttp2 ends a connection by default.
MANY = 2500


@pytest.fixture(scope="module", autouse=True)
def floor_made():
    Floor().prepare()


@pytest.fixture(params=[Floor, GrpcCpp, GrpcGo, Tonic], ids=lambda kind: kind.name)
def peer(request):
    made = request.param()
    if not Path(made.command()[0]).exists():
        pytest.skip(f"{made.name} is not built: make bench-peers-build")
    return made


def test_a_peer_answers_rightly_and_outlives_the_resets_of_thousands_of_requests(peer):
    # `opened` holds the dialogue.
    with cell.opened(peer) as bench:
        # Few connections: nobody waits long enough for Envoy to give up, however busy the machine.
        assert bench.closed(MANY, connections=4).requests == MANY
        assert not any(bench.failures().values()), bench.failures()


def test_a_peer_answers_each_message_of_a_stream_and_ends_it_with_ok(peer, tmp_path):
    peer.start(tmp_path / "socket")
    try:
        sent, answers, code = talk(f"unix:{tmp_path / 'socket'}")
    finally:
        peer.stop()
    assert code is grpc.StatusCode.OK
    assert len(answers) == len(sent)
    assert all(b"x-canary-chat-model" in one for one in answers)


def talk(address):
    """Send two messages on one stream, half-close, and read to the end."""
    messages = [request_headers([("x-user-id", user(n).encode())]) for n in range(2)]
    # grpcio would make an authority of the socket's path, which Rust's h2 refuses.
    options = [("grpc.default_authority", "localhost")]
    with grpc.insecure_channel(address, options) as channel:
        call = channel.stream_stream(f"/{SERVICE}/Process")(iter(messages), timeout=10)
        return messages, list(call), call.code()


@pytest.fixture
def floor_on_tcp(tmp_path):
    (tmp_path / "answer").write_bytes(answer(user(0)))
    argv = [str(MADE), "--answer", str(tmp_path / "answer")]
    with Child("floor", argv, tmp_path) as child:
        yield wait_until("the port", lambda: child.log_tail().strip(), alive=[child])


def test_the_floor_serves_tcp_as_well(floor_on_tcp, tmp_path):
    _, answers, code = talk(floor_on_tcp)
    assert (answers, code) == ([answer(user(0))] * 2, grpc.StatusCode.OK)
    with Envoy(scene.configuration(floor_on_tcp), tmp_path) as envoy:
        assert dialogue.hold(envoy.address, answers_as=user(0)) == len([*dialogue.questions()])


def test_a_floor_that_gives_somebody_elses_answer_is_found_out(floor_on_tcp, tmp_path):
    with (
        Envoy(scene.configuration(floor_on_tcp), tmp_path) as envoy,
        pytest.raises(WrongAnswerError, match="should be"),
    ):
        dialogue.hold(envoy.address, answers_as=user(1))


@pytest.mark.parametrize(
    "words", [[], ["--answer", "/nowhere/answer"], ["--socket", "s"], ["--answer"], ["--what", "1"]]
)
def test_a_floor_without_its_answer_says_so_and_does_not_serve(words, tmp_path):
    with Child("floor", [str(MADE), *words], tmp_path) as child:
        assert child.wait(5) == 1
        assert "answer" in child.log_tail()
