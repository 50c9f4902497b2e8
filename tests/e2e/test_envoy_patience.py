"""How long the configuration of `canary envoy` waits, and what it tries again, in a real Envoy.

No sidecar answers here: every request goes to the baseline, whose upstream does as it is told.
"""

import contextlib
import socket
import threading
import time

import pytest
from e2e.test_envoy_config import USER, ask, document, made
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import RequestReceived

from bench.lab.envoy import Envoy
from bench.lab.process import wait_until

STABLE = "cluster.all-stable"
REFUSED = ErrorCodes.REFUSED_STREAM
FAILED = ErrorCodes.INTERNAL_ERROR


class Upstream:
    """An HTTP/2 upstream that does the next of `deeds` with each request: a status, or a reset."""

    def __init__(self, *deeds):
        self._deeds = list(deeds)
        self.headers: list[dict[str, str]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        with contextlib.suppress(OSError):  # closed before
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                peer = self._listener.accept()[0]
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        http = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        http.initiate_connection()
        with peer, contextlib.suppress(OSError):
            peer.sendall(http.data_to_send())
            while data := peer.recv(65536):
                for event in http.receive_data(data):
                    if isinstance(event, RequestReceived):
                        self._answer(http, event)
                peer.sendall(http.data_to_send())

    def _answer(self, http, event):
        self.headers.append(dict(event.headers))
        deed = self._deeds.pop(0)
        if isinstance(deed, ErrorCodes):
            http.reset_stream(event.stream_id, deed)
        else:
            http.send_headers(event.stream_id, [(":status", str(deed))], end_stream=True)


@contextlib.contextmanager
def asked(tmp_path, *deeds, **options):
    """Envoy before an upstream that does these things."""
    upstream = Upstream(*deeds)
    options = {"ext_proc": f"unix://{tmp_path}/nobody.sock", "outcomes": False} | options
    config = made([document("all", USER)], upstream.address, http2=True, **options)
    with contextlib.closing(upstream), Envoy(config, tmp_path) as envoy:
        yield envoy, upstream


@contextlib.contextmanager
def nobody_accepts():
    """An address where no connection is taken or refused: the queue of its listener is full."""
    with socket.socket() as listener, contextlib.ExitStack() as queue:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = queue.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("deeds", "status"),
    [
        ([200], 200),
        ([REFUSED, 200], 200),
        ([REFUSED, REFUSED, 200], 200),
        ([REFUSED, REFUSED, REFUSED], 503),
        ([FAILED], 503),
        ([503], 503),
        ([500], 500),
    ],
    ids=str,
)
def test_only_what_no_upstream_began_is_tried_again_and_twice_at_most(tmp_path, deeds, status):
    with asked(tmp_path, *deeds) as (envoy, upstream):
        assert ask(envoy, "/", **{"x-user-id": "u1"}).status == status
    assert len(upstream.headers) == len(deeds)


def test_an_upstream_that_is_not_there_is_tried_again_twice(tmp_path):
    with asked(tmp_path) as (envoy, upstream):
        upstream.close()
        assert ask(envoy, "/").status == 503
        stats = envoy.stats()
        assert stats[f"{STABLE}.upstream_rq_retry"] == 2
        assert stats[f"{STABLE}.upstream_rq_retry_limit_exceeded"] == 1


def test_an_answer_may_take_any_time(tmp_path):
    with asked(tmp_path, 200) as (envoy, upstream):
        assert ask(envoy, "/").status == 200
    # Envoy tells an upstream how long it waits, where it does not wait for ever.
    assert "x-envoy-expected-rq-timeout-ms" not in upstream.headers[0]


def test_an_upstream_that_takes_no_connection_is_given_up_after_a_second_each_time(tmp_path):
    with nobody_accepts() as address:
        config = made([document("all", USER)], address, ext_proc="unix:///nobody", outcomes=False)
        with Envoy(config, tmp_path) as envoy:
            began = time.monotonic()
            assert ask(envoy, "/").status == 503
            assert 3 <= time.monotonic() - began < 9
            assert envoy.stats()[f"{STABLE}.upstream_cx_connect_timeout"] == 3


def test_a_sidecar_that_takes_no_connection_is_given_up_sooner_than_an_upstream(tmp_path):
    with nobody_accepts() as address, asked(tmp_path, 200, 200, ext_proc=address) as (envoy, _):
        began = time.monotonic()
        assert ask(envoy, "/").status == 200
        assert time.monotonic() - began < 2

        def given_up():
            return envoy.stats()["cluster.canary_sidecar.upstream_cx_connect_timeout"]

        wait_until("given up", given_up, alive=[envoy.child], timeout_s=3)


def test_a_sidecar_that_says_nothing_holds_a_request_up_for_a_fifth_of_a_second(tmp_path):
    path = str(tmp_path / "silent.sock")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(path)
        silent.listen()
        with asked(tmp_path, 200, ext_proc=f"unix://{path}") as (envoy, _):
            began = time.monotonic()
            assert ask(envoy, "/").status == 200
            assert 0.2 <= time.monotonic() - began < 2
            assert envoy.stats().ext_proc("message_timeouts") == 1
