"""A small gRPC upstream, beside `upstream`: one unary and one bidirectional method, raw bytes.

`/lab.Echo/Unary` answers with its variant's name; `/lab.Echo/Chat` answers each message with
`<variant>:<message>`. Its log has the format of `upstream.Log`.
"""

import argparse
import signal
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc

from bench.lab.upstream import RESERVED_PREFIX, write_port

SERVICE = "lab.Echo"


class Echo:
    """The handlers of one variant."""

    def __init__(self, variant: str, log: Path) -> None:
        self._variant = variant.encode()
        self._log = log.open("a", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()

    def unary(self, _message: bytes, context: Any) -> bytes:
        """Answer with the variant."""
        self._record("Unary", context)
        return self._variant

    def chat(self, messages: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """Answer each message as it comes."""
        self._record("Chat", context)
        for message in messages:
            yield self._variant + b":" + message

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return both methods."""
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def _record(self, method: str, context: Any) -> None:
        metadata = dict(context.invocation_metadata())
        headers = ";".join(f"{k}={v}" for k, v in metadata.items() if k.startswith(RESERVED_PREFIX))
        user = metadata.get("x-user-id", "")
        with self._lock:
            self._log.write(f"{time.time_ns()}\t{user}\t/{SERVICE}/{method}\t{headers}\n")


def main() -> None:
    """Run one gRPC upstream until SIGTERM."""
    parser = argparse.ArgumentParser(description="a small gRPC upstream that says who answered")
    parser.add_argument("--variant", required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--port-file", type=Path, required=True)
    options = parser.parse_args()
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((Echo(options.variant, options.log).handlers(),))
    write_port(options.port_file, server.add_insecure_port("127.0.0.1:0"))
    server.start()
    stopped.wait()
    server.stop(0.5).wait()


if __name__ == "__main__":
    main()
