"""Records what a real Envoy sends to an ext_proc service, for test_recorded_requests.py.

    python -m tests.conformance.record          (or: python tests/conformance/record.py)

Each scenario below becomes one file in recorded/: the filter's configuration in words, and every
ProcessingRequest that came, in hexadecimal. Run it again when Envoy moves; the requests differ in
ports, ids and times only.
"""

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent import futures
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import envoy_lab  # noqa: E402 - needs the path above
from transport_lab import make_table  # noqa: E402

RECORDED = Path(__file__).with_name("recorded")
SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
ALL = {
    "request_header_mode": "SEND",
    "response_header_mode": "SEND",
    "request_body_mode": "BUFFERED",
    "response_body_mode": "BUFFERED",
    "request_trailer_mode": "SEND",
    "response_trailer_mode": "SEND",
}
ATTRIBUTES = [
    *["source.address", "source.port", "request.path", "request.host", "request.protocol"],
    *["request.headers", "connection.mtls", "xds.route_name", "request.time"],
]
VISIBLE = [{"exact": name} for name in (":path", ":authority", "x-user-id", "cookie")]
BROWSER = (
    b"GET /v1/chat?u=7&lang=de HTTP/1.1\r\nhost: Shop.Example:8080\r\nx-user-id: u-42\r\n"
    b"user-agent: Mozilla/5.0 (X11; Linux x86_64)\r\naccept: text/html,*/*;q=0.8\r\n"
    b"accept-language: de-DE,de;q=0.9\r\naccept-encoding: gzip, br\r\nreferer: http://a.b/\r\n"
    b"cookie: a=b; session=0123456789abcdef; theme=dark\r\ncookie: more=1\r\n"
    b"x-odd: \xc3\xa4 \xff\r\nx-twice: 1\r\nx-twice: 2\r\nx-empty:\r\n\r\n"
)
CHUNKED = (
    b"POST /v1/chat HTTP/1.1\r\nhost: x\r\nx-user-id: u1\r\ntransfer-encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n0\r\nx-trailer: 1\r\n\r\n"
)
WEBSOCKET = (
    b"GET /ws HTTP/1.1\r\nhost: x\r\nx-user-id: u1\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n\r\n"
)


def curl(*options: str) -> Callable[[Any], None]:
    """Ask by curl, as README does."""

    def send(envoy: Any) -> None:
        header = ["--header", "x-user-id: u42"]
        command = ["curl", "--silent", "--output", "/dev/null", *header, *options, envoy.url + "/"]
        subprocess.run(command, check=True, timeout=30)

    return send


def raw(request: bytes) -> Callable[[Any], None]:
    """Send bytes."""
    return lambda envoy: envoy_lab.ask(envoy, 1, request=request) and None


def grpc_call(envoy: Any) -> None:
    """Make a unary call with metadata; its answer is no gRPC, which does not matter."""
    with grpc.insecure_channel(envoy.address) as channel, suppress(grpc.RpcError):
        call = channel.unary_unary("/shop.v1.Cart/Get")
        call(b"\x0a\x01a", metadata=[("x-user-id", "u7"), ("x-bin-bin", b"\0\1\2")], timeout=10)


@dataclass(frozen=True)
class Scenario:
    """What is asked, of an Envoy with which filter."""

    about: str
    send: Callable[[Any], None]
    config: dict[str, Any] = field(default_factory=dict)


SCENARIOS = {
    "curl": Scenario("curl over HTTP/1.1, the default processing_mode", curl(), {"mode": None}),
    "http2": Scenario("curl over HTTP/2, request headers only", curl("--http2-prior-knowledge")),
    "post": Scenario("a POST with a body, which is not sent", curl("--data", "hello")),
    "browser": Scenario("cookies, a query, repeated, odd and empty headers", raw(BROWSER)),
    "grpc": Scenario("a unary gRPC call with binary metadata", grpc_call),
    "websocket": Scenario(
        "a WebSocket's upgrade",
        raw(WEBSOCKET),
        {"manager": {"upgrade_configs": [{"upgrade_type": "websocket"}]}},
    ),
    "everything": Scenario("headers, bodies and trailers both ways", raw(CHUNKED), {"mode": ALL}),
    "attributes": Scenario(
        "request_attributes", raw(BROWSER), {"ext_proc": {"request_attributes": ATTRIBUTES}}
    ),
    "forward_rules": Scenario(
        "only the headers that rules need",
        raw(BROWSER),
        {"ext_proc": {"forward_rules": {"allowed_headers": {"patterns": VISIBLE}}}},
    ),
    "observability": Scenario(
        "observability_mode",
        raw(BROWSER),
        {"ext_proc": {"observability_mode": True, "deferred_close_timeout": "0.1s"}},
    ),
}


class Recorder:
    """An ext_proc service that keeps what it is asked, and answers by a table."""

    def __init__(self, path: str) -> None:
        self.messages: list[bytes] = []
        self.came = threading.Event()
        self._table = make_table()
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        handler = grpc.stream_stream_rpc_method_handler(self._process)
        generic = grpc.method_handlers_generic_handler(SERVICE, {"Process": handler})
        self._server.add_generic_rpc_handlers((generic,))
        self._server.add_insecure_port(f"unix:{path}")
        self._server.start()

    def _process(self, requests: Any, _context: Any) -> Any:
        for message in requests:
            self.messages.append(message)
            self.came.set()
            if answer := self._table.answer(message):
                yield answer

    def stop(self) -> None:
        """End it."""
        self._server.stop(0).wait()


def record(name: str, scenario: Scenario) -> list[bytes]:
    """Return the messages of one scenario, in the order in which they came."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/s"
        recorder = Recorder(path)
        try:
            with envoy_lab.running(envoy_lab.config(path, **scenario.config), name) as envoy:
                scenario.send(envoy)
                assert recorder.came.wait(10), name
        finally:
            recorder.stop()
        return recorder.messages


def main() -> None:
    """Record every scenario."""
    RECORDED.mkdir(exist_ok=True)
    for name, scenario in SCENARIOS.items():
        messages = record(f"record-{name}", scenario)
        kept = {"about": scenario.about, "messages": [message.hex() for message in messages]}
        (RECORDED / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n")
        print(f"{name}: {[len(message) for message in messages]} bytes")


if __name__ == "__main__":
    main()
