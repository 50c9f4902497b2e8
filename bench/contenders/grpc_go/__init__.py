"""Go: grpc-go, with Envoy's own messages from go-control-plane."""

from collections.abc import Sequence
from pathlib import Path

from bench.contenders import building
from bench.contenders.base import Program

HERE = Path(__file__).parent
MADE = building.BUILT / "grpc-go"


class GrpcGo(Program):
    """Go's own number of threads: one a core."""

    name = "grpc-go"

    def prepare(self) -> None:
        """Build it; a first time fetches its modules."""
        building.need_tool("go", "golang (1.21 or newer: it fetches the version go.mod names)")
        building.build(["go", "build", "-trimpath", "-o", str(MADE), "."], HERE)

    def command(self) -> Sequence[str]:
        """Return the program."""
        return [str(MADE)]
