"""A process from its start to its end.

It runs until SIGTERM or SIGINT (drain, then exit 0; a second signal exits at once), or until one of
its parts fails.
"""

import asyncio
import ctypes
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Protocol

import uvloop

from sidecar import telemetry
from sidecar.config import Settings
from sidecar.telemetry import Telemetry

RETRY_S = 1.0
_SWITCH_S = 0.0005
# glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE_BYTES = 256 << 10
_log = logging.getLogger(__name__)


class Part(Protocol):
    """One side of the product inside this process."""

    async def start(self) -> None:
        """Become ready. Raises CanaryError."""

    async def run(self) -> None:
        """Work until cancelled."""

    async def stop(self) -> None:
        """End well: also after a failed start."""

    def tell(self) -> None:
        """Log how it stands, in one line per variant."""


def run(settings: Settings, service: str, make: Callable[[Telemetry], Sequence[Part]]) -> None:
    """Run what `make` makes until a signal ends it. Raises CanaryError if a part cannot start."""
    _favour_requests()
    _give_large_memory_back()
    telemetry.configure_logs(settings.log_format)
    onlooker = telemetry.start(service, settings.node, settings.metrics)
    try:
        uvloop.run(_serve(lambda: make(onlooker)))
    finally:
        onlooker.stop()


def _favour_requests() -> None:
    """Let no other thread hold the interpreter for long: reading thousands of metrics did."""
    sys.setswitchinterval(_SWITCH_S)
    # A full collection walks every rollout there is; young garbage goes as before.
    gc.set_threshold(50_000, 20, 100)


def _give_large_memory_back() -> None:
    """Let what is large go back to the system when it is freed, whatever thread had it.

    By itself glibc learns from the first large response to keep as much in every thread's arena.
    Where the C library has no mallopt(3), it does as it does.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _LARGE_BYTES)


async def _serve(make: Callable[[], Sequence[Part]]) -> None:
    stopping = asyncio.create_task(_signalled())
    running: list[tuple[Part, asyncio.Task[None] | None]] = []

    def tell() -> None:
        for part, _ in running:
            part.tell()

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, tell)
    try:
        for part in make():
            running.append((part, None))
            await part.start()
            running[-1] = (part, asyncio.create_task(part.run()))
        tasks = [task for _, task in running if task]
        done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        # The sidecar goes first: it drains while its controller still stands.
        for part, work in reversed(running):
            await _end(work)
            await part.stop()
        await _end(stopping)
    _log.info("stopped")


async def lasting(run: Callable[[], Coroutine[None, None, None]]) -> None:
    """Begin again whatever ended: it is beside the requests, and must not take them along."""
    while True:
        try:
            await run()
        except Exception:  # noqa: BLE001 - whatever it is
            _log.exception("outcomes go on after a fault")
        await asyncio.sleep(RETRY_S)


async def _end(task: asyncio.Task[None] | None) -> None:
    if task:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _signalled() -> None:
    """Return at the first signal; the second ends the process there and then."""
    first = asyncio.Event()

    def on_signal(number: int) -> None:
        if first.is_set():
            os._exit(128 + number)
        _log.info("stopping", extra={"signal": signal.Signals(number).name})
        first.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    await first.wait()
