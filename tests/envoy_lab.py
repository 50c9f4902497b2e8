"""A real Envoy whose ext_proc filter is all there is: it answers every request by itself.

For tests of the conversation between Envoy and an engine, where the rest of the product is not
wanted. The variant that the engine chose comes back in the answer's header `x-seen`.
"""

import contextlib
import shutil
import socket
import threading
from pathlib import Path

from bench.lab.envoy import Envoy
from bench.lab.stack import ROOT
from sidecar.extproc.bootstrap import NO_BREAKER, TYPES

USER = b"GET /a HTTP/1.1\r\nhost: shop.example\r\nx-user-id: u1\r\n\r\n"
SKIP = {"request_header_mode": "SEND", "response_header_mode": "SKIP"}
REQUEST_TIMEOUT_S = 30


def config(address, *, mode=SKIP, ext_proc=None, manager=None, cluster=None, runtime=None):
    """A bootstrap with one ext_proc filter towards a Unix socket's path or a (host, port)."""
    host = {"pipe": {"path": address}}
    if isinstance(address, tuple):
        host = {"socket_address": {"address": address[0], "port_value": address[1]}}
    anywhere = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    layers = [{"name": "test", "static_layer": runtime or {}}]
    return {
        "admin": {"address": anywhere},
        "layered_runtime": {"layers": layers},
        "static_resources": {
            "listeners": [_listener(anywhere, mode, ext_proc or {}, manager or {})],
            "clusters": [_cluster(host, cluster or {})],
        },
    }


def _listener(address, mode, ext_proc, manager):
    seen = {"header": {"key": "x-seen", "value": "%REQ(x-canary-chat)%"}}
    route = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": "ok"}},
        "response_headers_to_add": [seen],
    }
    processor = {
        "@type": f"{TYPES}filters.http.ext_proc.v3.ExternalProcessor",
        "stat_prefix": "canary",
        "grpc_service": {"envoy_grpc": {"cluster_name": "engine"}},
        "failure_mode_allow": True,
        "message_timeout": "5s",
        **({"processing_mode": mode} if mode else {}),
        **ext_proc,
    }
    router = {"@type": f"{TYPES}filters.http.router.v3.Router"}
    connections = {
        "@type": f"{TYPES}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "codec_type": "AUTO",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "envoy.filters.http.ext_proc", "typed_config": processor},
            {"name": "envoy.filters.http.router", "typed_config": router},
        ],
        **manager,
    }
    name = "envoy.filters.network.http_connection_manager"
    chain = {"filters": [{"name": name, "typed_config": connections}]}
    return {"name": "ingress", "address": address, "filter_chains": [chain]}


def _cluster(host, more):
    protocol = f"{TYPES}upstreams.http.v3.HttpProtocolOptions"
    http2 = {"@type": protocol, "explicit_http_config": {"http2_protocol_options": {}}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": host}}]}]
    return {
        "name": "engine",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [{"max_requests": NO_BREAKER}]},
        "typed_extension_protocol_options": {protocol.rpartition("/")[2]: http2},
        "load_assignment": {"cluster_name": "engine", "endpoints": endpoints},
        **more,
    }


@contextlib.contextmanager
def running(made, name):
    """An Envoy with this configuration; its files lie in build/lab/."""
    work = ROOT / "build" / "lab" / f"{name}-{threading.get_native_id()}"
    work.mkdir(parents=True)
    try:
        with Envoy(made, Path(work)) as envoy:
            yield envoy
    finally:
        shutil.rmtree(work)


def ask(envoy, requests=1, *, connections=1, request=USER, end=b"\r\n\r\nok"):
    """Send so many requests, in turn on each connection; return what Envoy answered, in all.

    `end` stands once in every whole answer.
    """
    answers = []
    share = requests // connections

    def one():
        answers.append(_pipelined(envoy.address, request, share, end))

    threads = [threading.Thread(target=one) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(REQUEST_TIMEOUT_S * 2)
    return [line for text in answers for line in text.split(b"HTTP/1.1 ")[1:]]


def _pipelined(address, request, count, end):
    host, port = address.split(":")
    received = bytearray()
    with socket.create_connection((host, int(port)), REQUEST_TIMEOUT_S) as connection:
        for done in range(0, count, 20):
            batch = min(20, count - done)
            connection.sendall(request * batch)
            while received.count(end) < done + batch:
                more = connection.recv(1 << 16)
                if not more:
                    return bytes(received)
                received += more
    return bytes(received)


def answered_by(answers):
    """How many answers there are, by status and by the variant that the request carried."""
    counts = {}
    for one in answers:
        status = int(one[:3])
        seen = [line[8:] for line in one.split(b"\r\n") if line.startswith(b"x-seen: ")]
        key = (status, seen[0].decode() if seen else "")
        counts[key] = counts.get(key, 0) + 1
    return counts
