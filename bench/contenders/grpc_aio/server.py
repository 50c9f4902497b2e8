"""An ext_proc server as a Python engineer would write it: grpc.aio, protobuf, mmh3.

It knows one rollout from its command line and decides as docs/assignment.md says. Run as a script
with the compiled messages on PYTHONPATH.
"""

import argparse
import asyncio
import signal
from collections.abc import AsyncIterator
from typing import Any

import ext_proc_pb2 as pb  # type: ignore[import-not-found]
import ext_proc_pb2_grpc as pb_grpc  # type: ignore[import-not-found]
import grpc
import mmh3


class Processor(pb_grpc.ExternalProcessorServicer):  # type: ignore[misc]
    """Answers each request's headers with a variant."""

    def __init__(self, task: argparse.Namespace) -> None:
        self._task = task
        self._salt = task.salt.encode() + b"\0"
        self._threshold = (task.percent << 64) // 100

    async def Process(  # noqa: N802 - named by the protocol
        self, requests: AsyncIterator[Any], _context: object
    ) -> AsyncIterator[Any]:
        """Serve one stream: one message each way."""
        async for request in requests:
            yield self._answer(request)

    def _answer(self, request: Any) -> Any:
        variant, decision = self._decide(self._unit(request))
        option = pb.HeaderValueOption(
            header=pb.HeaderValue(key=f"x-canary-{self._task.rollout}", raw_value=variant.encode()),
            append_action=pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
        )
        response = pb.ProcessingResponse(
            request_headers=pb.HeadersResponse(
                response=pb.CommonResponse(
                    header_mutation=pb.HeaderMutation(set_headers=[option]),
                    clear_route_cache=True,
                )
            )
        )
        response.dynamic_metadata.update({"canary": {self._task.rollout: decision}})
        return response

    def _unit(self, request: Any) -> bytes:
        for header in request.request_headers.headers.headers:
            if header.key == self._task.header and header.raw_value:
                unit: bytes = header.raw_value
                return unit
        return b""

    def _decide(self, unit: bytes) -> tuple[str, dict[str, str]]:
        variant, version = self._task.baseline, "1"
        if not unit:
            return variant, {"variant": variant, "version": version, "reason": "no_unit"}
        position, second = mmh3.hash64(self._salt + unit, 0, x64arch=True, signed=False)
        if position < self._threshold:
            variant = self._task.candidate
        described = {"variant": variant, "version": version, "reason": "weight"}
        return variant, {**described, "unit": f"{second:016x}"}


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM."""
    server = grpc.aio.server()
    pb_grpc.add_ExternalProcessorServicer_to_server(Processor(options), server)
    server.add_insecure_port(f"unix:{options.socket}")
    await server.start()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await server.stop(grace=1.0)


def main() -> None:
    """Run the server."""
    parser = argparse.ArgumentParser(description="ext_proc with grpc.aio and protobuf")
    for name in ("socket", "rollout", "salt", "header", "baseline", "candidate"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--percent", type=int, required=True)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
