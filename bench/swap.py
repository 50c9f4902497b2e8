"""What a swap of a large table does to requests: the slowest one with swaps, and without.

    python -m bench.swap [--rounds 10] [--seconds 2] [--rate 1000]

A table of 10,000 rollouts of five segments is loaded and put in force every 100 ms in a native
engine that h2load asks over a Unix socket at a fixed rate, by a thread that gives way as one of a
sidecar does. Rounds are interleaved: no swap, no swap
again (what that shows is noise), loads that are thrown away (their CPU alone), and swaps.
"""

import argparse
import re
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench.test_core import many_ruled, message
from sidecar.control.offload import give_way
from sidecar.extproc import SERVICE
from sidecar.extproc._transport import Server
from sidecar.routing import Table, compile_table

ROLLOUTS = 10_000
EVERY_S = 0.1
_TIMES = re.compile(r"time for request: +([0-9.]+)(us|ms|s) +([0-9.]+)(us|ms|s)")
_UNITS_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@contextmanager
def repeated(act: Callable[[], object]) -> Iterator[None]:
    """Do it every EVERY_S while this lasts."""
    over = threading.Event()

    def run() -> None:
        give_way()
        while not over.wait(EVERY_S):
            act()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def slowest_ms(path: Path, rate: int, seconds: float) -> float:
    """Ask at this rate; return how long the slowest answer took."""
    body = path.with_name("message")
    asked = message(20)
    body.write_bytes(b"\0" + len(asked).to_bytes(4) + asked)
    requests = int(rate * seconds)
    command = ["h2load", "--base-uri", f"unix:{path}", "--data", str(body), "--clients", "1"]
    command += ["--header", "content-type: application/grpc", "--header", "te: trailers"]
    command += ["--max-concurrent-streams", "16", "--requests", str(requests), "--rps", str(rate)]
    command.append(f"http://localhost/{SERVICE}/Process")
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = _TIMES.search(said)
    if f"{requests} succeeded" not in said or not found:
        raise SystemExit(f"not every request succeeded\n{said}")
    return float(found[3]) * _UNITS_MS[found[4]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rate", type=int, default=1000)
    asked = parser.parse_args()
    data = compile_table(many_ruled(ROLLOUTS), "v")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(64)
        listener.setblocking(False)
        server = Server(listener.detach(), 1, True, None)
        server.swap(Table(data))
        server.set_serving(True)
        ways: dict[str, Callable[[], object]] = {
            "no swap": lambda: None,
            "no swap, again": lambda: None,
            "loaded, not swapped": lambda: Table(data),
            "swapped": lambda: server.swap(Table(data)),
        }
        found: dict[str, list[float]] = {name: [] for name in ways}
        began = time.monotonic()
        for _ in range(asked.rounds):
            for name, act in ways.items():
                with repeated(act):
                    found[name].append(slowest_ms(path, asked.rate, asked.seconds))
        server.close()
    print(f"slowest of {asked.rate * asked.seconds:,.0f} requests, ms; {asked.rounds} rounds")
    for name, values in found.items():
        ordered = sorted(values)
        print(f"{name:22} median {median(values):7.2f}   {ordered[0]:.2f} to {ordered[-1]:.2f}")
    print(f"in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
