"""What a set of processes has used so far, by the kernel's own books."""

import os
import re
import resource
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

# <linux/posix-timers.h>: the clock of a whole process, threads that ended included, in ns.
CPUCLOCK_SCHED = 2


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU time, and how often a thread went to sleep of its own accord (so: was woken)."""

    cpu_ns: int
    sleeps: int

    def __sub__(self, earlier: Self) -> "Usage":
        return Usage(self.cpu_ns - earlier.cpu_ns, self.sleeps - earlier.sleeps)


def usage(pids: Sequence[int]) -> Usage:
    """Read both, summed over the processes. Raises OSError if one is gone."""
    return Usage(sum(map(_cpu_ns, pids)), sum(map(_sleeps, pids)))


def machine_ns() -> int:
    """Return the CPU time that everything on this machine has used, all cores together."""
    user, nice, system, _idle, _iowait, *more = _first_line(Path("/proc/stat")).split()[1:9]
    ticks = sum(map(int, (user, nice, system, *more)))
    return ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def ended_children_ns() -> int:
    """Return the CPU time of this process's own children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return int((used.ru_utime + used.ru_stime) * 1e9)


def peak_rss_bytes(pids: Sequence[int]) -> int:
    """Return the most memory that was ever resident, summed over the processes."""
    return sum(_status(Path(f"/proc/{pid}/status"), "VmHWM") for pid in pids) * 1024


def rss_bytes(pids: Sequence[int]) -> int:
    """Return the memory that is resident now, summed over the processes."""
    return sum(_status(Path(f"/proc/{pid}/status"), "VmRSS") for pid in pids) * 1024


def _cpu_ns(pid: int) -> int:
    return time.clock_gettime_ns((~pid << 3) | CPUCLOCK_SCHED)


def _sleeps(pid: int) -> int:
    found = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        # A thread may end between the listing and the reading.
        with suppress(FileNotFoundError, ProcessLookupError):
            found += _status(thread / "status", "voluntary_ctxt_switches")
    return found


def _first_line(path: Path) -> str:
    with path.open() as file:
        return file.readline()


def _status(path: Path, name: str) -> int:
    match = re.search(rf"^{name}:\s+(\d+)", path.read_text(), re.MULTILINE)
    return int(match[1]) if match else 0
