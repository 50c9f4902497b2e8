"""The plain Python way: grpc.aio and official protobuf messages, as one would write it by hand.

Official protobuf (upb, in C) rather than betterproto2's stubs: it is what grpcio's own guide uses
and the faster of the two. Envoy's messages are compiled from the few fields that are needed, under
build/: the full set on PyPI (xds-protos) overwrites files of other packages.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.contenders.base import MESSAGES, Missing, Program
from bench.lab.stack import ROOT

HERE = Path(__file__).parent
MADE = ROOT / "build" / "bench" / "pb"


class GrpcAio(Program):
    """One process, one event loop."""

    name = "grpc.aio"
    env = {"PYTHONPATH": str(MADE)}  # noqa: RUF012 - set once, here

    def prepare(self) -> None:
        """Compile the messages."""
        MADE.mkdir(parents=True, exist_ok=True)
        protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{MESSAGES.parent}"]
        argv = [*protoc, f"--python_out={MADE}", f"--grpc_python_out={MADE}", MESSAGES.name]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise Missing(f"protoc, from grpcio-tools (`make setup`): {done.stderr}")

    def command(self) -> Sequence[str]:
        """Run the script alone: nothing of the harness is in its memory."""
        return [sys.executable, str(HERE / "server.py")]
