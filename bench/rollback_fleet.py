"""One controller, a thousand simulated sidecars: each follows its table and reports its outcomes.

    python -m bench.rollback_fleet SIDECARS WORK      (one process of simulated sidecars)

Every simulated sidecar has a control stream and an outcome stream of its own, over real gRPC, and
sends two rows a second (either arm) like a sidecar under traffic. After `CALM_S` the candidate
fails everywhere. Measured: from the controller's decision, by its history, to the last sidecar that
has the table of it; the controller's memory at its highest, by the kernel.
"""

import asyncio
import json
import secrets
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import UTC
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from bench.lab.process import Child, wait_until
from bench.lab.stack import ROOT, installed_canary
from sidecar.analysis import cells, edges
from sidecar.control import calls, envelopes, wire
from sidecar.control.pb import outcomes_pb2 as pb
from sidecar.control.reporting import METHOD as REPORT

NAME = "chat"
DOCUMENT = f"""apiVersion: canary.dev/v1
kind: Rollout
metadata: {{name: {NAME}}}
spec:
  unit: [{{header: x-user-id}}]
  variants: [{{name: stable, weight: 100}}, {{name: canary, weight: 0}}]
  steps: [{{weight: 5, hold: 1h}}, {{weight: 100}}]
  guardrails:
    - {{metric: error_rate, maxIncrease: 0.5pp}}
    - {{metric: latency_p99, maxIncrease: 100ms}}
"""
CALM_S = 60.0
LIMIT_MS, LIMIT_MB = 1000.0, 300.0
DURATION = cells.DURATION + edges.bucket(20_000)
_Stream = grpc.aio.StreamStreamCall[bytes, bytes]
UNIT_DURATION = cells.UNIT_DURATION + edges.bucket(20_000)


class Simulated:
    """One sidecar: the tables it was given, with the moment of each; the rows it sends."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._sequence = 0
        self.tables: dict[str, int] = {}
        self.version = ""
        self.acknowledged = 0

    async def follow(self, channel: grpc.aio.Channel) -> None:
        """Take every table and confirm it."""
        stream: _Stream = channel.stream_stream(envelopes.METHOD)()
        hello = envelopes.Request(node=f"n{self._number}", subscribe=(envelopes.WILDCARD,))
        await stream.write(envelopes.pack_request(hello))
        while isinstance(data := await stream.read(), bytes):
            now_ns = time.time_ns()
            response = envelopes.unpack_response(data)
            self.version = response.table_version
            self.tables[self.version] = now_ns
            await stream.write(envelopes.pack_request(envelopes.Request(nonce=response.nonce)))

    async def report(self, channel: grpc.aio.Channel, failing: asyncio.Event) -> None:
        """Send both rows of every second, at a moment of its own within it."""
        stream: _Stream = channel.stream_stream(REPORT)()
        while True:
            now_s = time.time()
            await asyncio.sleep(1 + self._number % 100 / 100 - now_s % 1)
            rows = list(self._rows(int(now_s), failing=failing.is_set()))
            report = pb.OutcomeReport(node=f"n{self._number}", rows=rows)
            await stream.write(report.SerializeToString())
            if not isinstance(await stream.read(), bytes):
                return
            self.acknowledged += 2

    def _rows(self, second: int, *, failing: bool) -> Iterable[pb.OutcomeRow]:
        for variant, started in (("stable", 19), ("canary", 1)):
            self._sequence += 1
            errors = started if failing and variant == "canary" else 0
            counts = {cells.STARTED: started, cells.COMPLETED: started, cells.UNITS: started}
            counts |= {cells.ERRORS: errors, cells.UNIT_ERRORS: errors, cells.AT_RISK: started}
            counts |= {DURATION: started, UNIT_DURATION: started}
            yield pb.OutcomeRow(
                epoch=f"epoch-{self._number}",
                number=self._sequence,
                sequence=self._sequence,
                second=second,
                rollout=NAME,
                variant=variant,
                version=self.version or "none",
                segment="weight",
                counts=cells.pack(counts),
                edges=edges.VERSION,
            )


async def _lasting(run: Callable[[], Awaitable[None]]) -> None:
    """Come again after a moment, as sidecars do: not all of a thousand are let in at once."""
    while True:
        # A stream that was refused may be written to before its end is heard of.
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await run()
        await asyncio.sleep(0.2)


async def simulate(count: int, work: Path) -> None:
    """Live through the launch; write when each sidecar had which table."""
    failing, fleet = asyncio.Event(), [Simulated(number) for number in range(count)]
    address = f"unix://{work}/run/control.sock"
    async with asyncio.TaskGroup() as tasks:
        channels = [
            # A connection of its own for each, as sidecars have.
            grpc.aio.insecure_channel(
                address, [*wire.CLIENT_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
            )
            for _ in fleet
        ]
        running = [
            tasks.create_task(work_)
            for one, channel in zip(fleet, channels, strict=True)
            for work_ in (
                _lasting(partial(one.follow, channel)),
                _lasting(partial(one.report, channel, failing)),
            )
        ]
        await asyncio.sleep(CALM_S)
        (work / "calm").write_text(str(sum(one.acknowledged for one in fleet)))
        failing.set()
        while not (work / "over").exists():  # noqa: ASYNC110 - another process says so
            await asyncio.sleep(0.1)
        tables = [[(version, at) for version, at in one.tables.items()] for one in fleet]
        draft = work / "tables.draft"
        draft.write_text(json.dumps(tables))
        draft.replace(work / "tables.json")
        for task in running:
            task.cancel()


def measure(count: int) -> dict[str, Any]:
    """Run controller and sidecars; return the figures."""
    work = ROOT / "build" / "lab" / f"fleet-{secrets.token_hex(3)}"
    (work / "rollouts").mkdir(parents=True)
    (work / "rollouts" / f"{NAME}.yaml").write_text(DOCUMENT)
    env = {"CANARY_RUN_DIR": str(work / "run"), "CANARY_STATE_DIR": str(work / "state")}
    control = f"unix://{work}/run/control.sock"
    (work / "run").mkdir(exist_ok=True)
    canary = [*installed_canary(), "controller", str(work / "rollouts")]
    simulated = [sys.executable, "-m", "bench.rollback_fleet", str(count), str(work)]
    with Child("controller", canary, work, env=env) as controller:
        alive = [controller]
        wait_until("the controller", lambda: _step(control) == 1, alive=alive)
        with Child("fleet", simulated, work, env={"PYTHONPATH": str(ROOT)}) as fleet:
            alive.append(fleet)
            wait_until("calm", (work / "calm").exists, CALM_S + 60, alive)

            def over() -> bool:
                return calls.controller_status(control).rollouts[0].progress.phase == "RolledBack"

            began = time.time()
            wait_until("the rollback", over, 60.0, alive)
            time.sleep(2)
            version = calls.controller_status(control).version
            [event] = calls.history(control, NAME, 1).events
            memory_mb = _most_memory_mb(controller.pid)
            (work / "over").touch()
            path = work / "tables.json"
            tables = wait_until(
                "the tables", lambda: path.read_text() if path.exists() else None, 30.0, alive
            )
    decided_ns = int(event.at.ToDatetime(UTC).timestamp() * 1e9)
    switched = sorted(
        (dict(one).get(version, 2**62) - decided_ns) / 1e6 for one in json.loads(tables)
    )
    rows = int((work / "calm").read_text())
    shutil.rmtree(work)
    return {
        "sidecars": count,
        "rows_kept_per_s": round(rows / CALM_S),
        "first_errors_to_decision_ms": round((decided_ns / 1e9 - began) * 1e3),
        "half_switched_ms": round(switched[len(switched) // 2], 1),
        "all_switched_ms": round(switched[-1], 1),
        "limit_ms": LIMIT_MS,
        "controller_mb": round(memory_mb, 1),
        "limit_mb": LIMIT_MB,
    }


def _step(control: str) -> int:
    """How many steps have begun; 0 while nobody answers."""
    try:
        return int(calls.controller_status(control).rollouts[0].progress.step)
    except calls.UnreachableError:
        return 0


def _most_memory_mb(pid: int) -> float:
    """The most that a process ever held, by the kernel (VmHWM)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    asyncio.run(simulate(int(sys.argv[1]), Path(sys.argv[2])))
