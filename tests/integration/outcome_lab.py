"""Both ends of the outcome stream as processes of their own, to be killed."""

import asyncio
import functools
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

CONTROLLER = """
import asyncio, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import grpc
from sidecar.control import receiving, wire
from sidecar.control.doors import Door
from sidecar.store import Outcomes

async def main(address, path):
    worker = ThreadPoolExecutor(1)
    store = worker.submit(Outcomes, Path(path)).result()
    loop = asyncio.get_running_loop()

    async def keep(rows):
        await loop.run_in_executor(worker, store.add, rows)

    door = Door(address)
    server = grpc.aio.server(options=wire.SERVER_OPTIONS)
    server.add_generic_rpc_handlers((receiving.handlers(receiving.Inbox(keep), door),))
    door.bind(server)
    await server.start()
    print("serving", flush=True)
    await server.wait_for_termination()

asyncio.run(main(*sys.argv[1:]))
"""

# Takes entries as they come and reports them, saying after each message how many it was given.
SIDECAR = """
import asyncio, sys, time
from pathlib import Path
from random import Random
from sidecar.control.backoff import Backoff
from sidecar.control.reporting import Reporter
from sidecar.outcomes.ledger import Table
from sidecar.outcomes.recording import Recorder

class Source:
    def __init__(self, recorder):
        self.pending, self.acknowledge = recorder.pending, recorder.acknowledge

    def trips(self):
        return ()

async def main(address, folder, message):
    recorder = Recorder(Path(folder), dict, lambda rows: reporter.news())
    recorder.begin_version(Table("v1", [("chat", "canary")], [("chat", "canary")]))
    reporter = Reporter(address, "n1", Source(recorder), Backoff(Random(1)))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(recorder.run())
        tasks.create_task(reporter.run())
        given = 0
        while True:
            recorder.rows.take(bytes.fromhex(message), time.time_ns() // 1000)
            given += 5
            print(given, flush=True)
            await asyncio.sleep(0.002)

asyncio.run(main(*sys.argv[1:]))
"""


@contextmanager
def process(script: str, *argv: object):
    """Run a script until the block ends, then kill it as the kernel kills."""
    argv = [sys.executable, "-c", script, *map(str, argv)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


def socket_address(folder: Path) -> str:
    """A Unix socket in a folder."""
    return f"unix://{folder}/control.sock"


def on_a_loop(test):
    """Run a test that is a coroutine."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        asyncio.run(test(*args, **kwargs))

    return run
