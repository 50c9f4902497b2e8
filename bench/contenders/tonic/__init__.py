"""Rust: tonic on one thread of tokio."""

from collections.abc import Sequence
from pathlib import Path

from bench.contenders import building
from bench.contenders.base import Program

HERE = Path(__file__).parent
MADE = building.BUILT / "tonic"


class Tonic(Program):
    """One thread, so that no work is handed from one to another."""

    name = "tonic"

    def prepare(self) -> None:
        """Build it; a first time fetches its crates and takes minutes."""
        building.need_tool("cargo", "cargo (1.85 or newer; rustup has it)")
        building.need_tool("protoc", "protobuf-compiler")
        argv = ["cargo", "build", "--quiet", "--locked", "--release", "--target-dir", str(MADE)]
        building.build(argv, HERE)

    def command(self) -> Sequence[str]:
        """Return the program."""
        return [str(MADE / "release" / "ext-proc-tonic")]
