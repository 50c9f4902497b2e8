"""Contenders in other languages are built under build/bench/, by their own tools.

A tool that is not there is Missing, with what to install: the contender is named and left out. A
build that fails is a LabError: something is broken.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.contenders.base import Missing
from bench.lab.process import LabError
from bench.lab.stack import ROOT

BUILT = ROOT / "build" / "bench"
# A first `cargo build` compiles some hundred crates.
LONGEST_S = 1200.0


def need_tool(tool: str, package: str) -> str:
    """Return where the command is. Raises Missing if it is not there."""
    found = shutil.which(tool)
    if found is None:
        raise Missing(f"{tool} is not installed: apt-get install {package}")
    return found


def libraries(names: Sequence[str], package: str) -> list[str]:
    """Return the compiler's words for libraries that pkg-config knows. Raises Missing."""
    need_tool("pkg-config", "pkg-config")
    found = subprocess.run(
        ["pkg-config", "--cflags", "--libs", *names], capture_output=True, text=True, check=False
    )
    if found.returncode != 0:
        raise Missing(f"{' and '.join(names)} cannot be found: apt-get install {package}")
    return found.stdout.split()


def newer(sources: Sequence[Path], made: Path) -> bool:
    """Whether any source is newer than what was made of it, or that is not there."""
    return not made.exists() or max(s.stat().st_mtime for s in sources) > made.stat().st_mtime


def build(argv: Sequence[str], cwd: Path, env: Mapping[str, str] | None = None) -> None:
    """Run one step. Raises LabError with the tool's last words."""
    done = subprocess.run(
        argv,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    if done.returncode != 0:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise LabError(f"{argv[0]} failed in {cwd}:\n{last}")
