"""Takes whatever OTLP it is sent, by gRPC, and forgets it: `collector.py --port-file PATH`.

It prints each method once, when it is first called: the witness that something is sent at all.
"""

import argparse
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc


class Anything(grpc.GenericRpcHandler):
    """Answers every unary call with an empty message, which any OTLP response may be."""

    def __init__(self) -> None:
        self._called: set[str] = set()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the one handler."""
        method = handler_call_details.method
        if method not in self._called:
            self._called.add(method)
            print(method, flush=True)
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="takes OTLP and forgets it")
    parser.add_argument("--port-file", type=Path, required=True)
    path = parser.parse_args().port_file
    server = grpc.server(ThreadPoolExecutor(1), handlers=[Anything()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    draft = path.with_suffix(".draft")
    draft.write_text(str(port))
    draft.replace(path)
    signal.sigwait([signal.SIGTERM])
    server.stop(None)


if __name__ == "__main__":
    # Before the server's threads, so that the signal waits for `sigwait`.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    main()
