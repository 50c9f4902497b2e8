"""A small real upstream that says who answered and remembers every request.

Run as a process of its own: `python -m bench.lab.upstream --variant canary --log FILE --port-file
FILE`. It listens on a free loopback port and writes the number to the port file. Its log is the
lab's second witness (the first are Envoy's statistics): one line per request, written out before
the answer is.

What it does wrong is in a file beside its log, `<log>.mood` (see Mood), and may change at any time.

/ws is an echo WebSocket; a request with `x-fail-times: N` and an `x-request-key` is answered 503
N times before it succeeds.
"""

import argparse
import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import TextIO

from aiohttp import WSMsgType, web

RESERVED_PREFIX = "x-canary-"
ANSWERED_BY = "x-answered-by"


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as the upstream saw it; `time_ns` is the wall clock at its arrival."""

    time_ns: int
    user: str
    path: str
    canary: dict[str, str]
    # As the upstream was about to answer it: 200 or 503, after how long.
    status: int = 200
    delay_s: float = 0.0

    @property
    def bad(self) -> bool:
        """Whether it went wrong on purpose."""
        return self.status >= 500 or self.delay_s > 0


@dataclass(frozen=True, slots=True)
class Mood:
    """What goes wrong: so many answers (a share) fail, so many come `slow_s` late."""

    fail: float = 0.0
    slow: float = 0.0
    slow_s: float = 0.0

    def write(self, log: Path) -> None:
        """Let the upstream with this log be so from now on; it looks 50 times a second."""
        path = log.with_suffix(".mood")
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(self)))
        draft.replace(path)

    @classmethod
    def read(cls, log: Path) -> "Mood":
        """Return what is in force; well by default."""
        path = log.with_suffix(".mood")
        return cls(**json.loads(path.read_text())) if path.exists() else cls()


class Log:
    """The upstream's own record, per line: `time_ns user path name=value;... status delay_s`."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", encoding="utf-8", buffering=1)

    def write(self, request: web.Request, status: int = 200, delay_s: float = 0.0) -> None:
        """Record a request, now, and how it will be answered."""
        now_ns = time.time_ns()
        headers = ";".join(
            f"{name.lower()}={value}"
            for name, value in request.headers.items()
            if name.lower().replace("_", "-").startswith(RESERVED_PREFIX)
        )
        user = request.headers.get("x-user-id", "")
        fields = (now_ns, user, request.path_qs, headers, status, delay_s)
        self._file.write("\t".join(map(str, fields)) + "\n")


class Reader:
    """Follows one upstream's log; each call to `new()` gives what came since the last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new(self) -> Iterator[Seen]:
        """Yield the complete lines that were not read yet."""
        if not self._path.exists():
            return
        with self._path.open("rb") as log:
            log.seek(self._offset)
            data = log.read()
        complete = data[: data.rfind(b"\n") + 1]
        self._offset += len(complete)
        for line in complete.decode().splitlines():
            time_ns, user, path, headers, *answer = line.split("\t")
            pairs = (pair.split("=", 1) for pair in headers.split(";") if pair)
            how = (int(answer[0]), float(answer[1])) if answer else ()
            yield Seen(int(time_ns), user, path, dict(pairs), *how)


class Service:
    """The handlers of one variant."""

    def __init__(self, variant: str, log: Log) -> None:
        self._headers = {ANSWERED_BY: variant}
        self._body = f"{variant}\n".encode()
        self._log = log
        self._failed: Counter[str] = Counter()
        self._chance = Random(1)
        self.mood = Mood()

    def app(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application()
        app.router.add_get("/ws", self._echo)
        app.router.add_route("*", "/{tail:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        failing = self._must_fail(request) or self._chance.random() < self.mood.fail
        delay_s = self.mood.slow_s if self._chance.random() < self.mood.slow else 0.0
        status = 503 if failing else 200
        self._log.write(request, status, delay_s)
        await asyncio.sleep(delay_s)
        return web.Response(status=status, headers=self._headers, body=self._body)

    def _must_fail(self, request: web.Request) -> bool:
        key = request.headers.get("x-request-key", "")
        self._failed[key] += 1
        return self._failed[key] <= int(request.headers.get("x-fail-times", "0"))

    async def _echo(self, request: web.Request) -> web.WebSocketResponse:
        self._log.write(request)
        socket = web.WebSocketResponse()
        socket.headers.update(self._headers)
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
        return socket


async def follow(service: Service, log: Path) -> None:
    """Keep the service in the mood that the file says."""
    while True:
        service.mood = Mood.read(log)
        await asyncio.sleep(0.02)


async def serve(service: Service, log: Path, port_file: Path) -> None:
    """Serve until SIGTERM or SIGINT, on a free loopback port that `port_file` names."""
    following = asyncio.create_task(follow(service, log))
    runner = web.AppRunner(service.app(), access_log=None, handle_signals=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024, shutdown_timeout=1.0)
    await site.start()
    write_port(port_file, runner.addresses[0][1])
    stopped = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopped.set)
    await stopped.wait()
    following.cancel()
    await runner.cleanup()


def write_port(port_file: Path, port: int) -> None:
    """Publish a port whole: a reader never sees half a number."""
    draft = port_file.with_suffix(f".{os.getpid()}")
    draft.write_text(str(port))
    draft.replace(port_file)


def main() -> None:
    """Run one upstream."""
    parser = argparse.ArgumentParser(description="a small upstream that says who answered")
    parser.add_argument("--variant", required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--port-file", type=Path, required=True)
    options = parser.parse_args()
    service = Service(options.variant, Log(options.log))
    asyncio.run(serve(service, options.log, options.port_file))


if __name__ == "__main__":
    main()
