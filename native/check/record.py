"""Records what a real Envoy says to the sidecar, for the transport's fuzzer.

    python native/check/record.py tests/corpus/conn

A socket between the two copies every byte on its way. Each connection becomes one input
of fuzz_conn.c (two bytes of options, then the peer's words) for each of some options.
"""

import json
import select
import socket
import sys
import threading
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from bench.lab.stack import Plan, Stack  # noqa: E402

OPTIONS = {"plain": b"\x03\x07", "events": b"\x07\x11", "untrusted": b"\x00\x2f"}
REQUESTS = [
    ("/", {"x-user-id": "u1"}),
    ("/v1/chat?x=1", {"x-user-id": "u2", "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}),
    ("/", {"cookie": "sid=1", "x-canary-chat-model": "canary"}),
    ("/long", {"x-user-id": "u" * 500, "x-filler": "f" * 2_000}),
]


class Tee:
    """Listens at `path`, forwards to `to`, keeps what each client said."""

    def __init__(self, path: str, to: str) -> None:
        self.said: list[bytearray] = []
        self._to = to
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._to)
            self.said.append(bytearray())
            threading.Thread(
                target=self._copy, args=(client, server, self.said[-1]), daemon=True
            ).start()

    @staticmethod
    def _copy(client: socket.socket, server: socket.socket, said: bytearray) -> None:
        while True:
            for ready in select.select([client, server], [], [])[0]:
                piece = ready.recv(65_536)
                if not piece:
                    client.close()
                    server.close()
                    return
                if ready is client:
                    said += piece
                (server if ready is client else client).sendall(piece)


def conversations() -> list[bytes]:
    """What one Envoy says on each of its connections, for a few requests."""

    def through_tee(config: dict[str, Any]) -> dict[str, Any]:
        changed: dict[str, Any] = json.loads(
            json.dumps(config).replace("ext_proc.sock", "tee.sock")
        )
        return changed

    stack = Stack(Plan(name="record", adjust=through_tee))
    stack._prepare()  # noqa: SLF001
    run = stack.work / "run"
    try:
        stack.start_upstreams()
        stack.start_canary()
        tee = Tee(str(run / "tee.sock"), str(run / "ext_proc.sock"))
        stack.start_envoy()
        for path, headers in REQUESTS:
            with urlopen(Request(stack.envoy.url + path, headers=headers)) as answer:
                answer.read()
        return [bytes(said) for said in tee.said if said]
    finally:
        stack.__exit__()
        stack.remove()


def main(folder: str) -> None:
    """Write the folder's recorded inputs anew."""
    into = Path(folder)
    into.mkdir(parents=True, exist_ok=True)
    for old in into.glob("envoy-*"):
        old.unlink()
    for said in conversations():
        for name, options in OPTIONS.items():
            digest = sha256(said).hexdigest()[:8]
            (into / f"envoy-{name}-{digest}").write_bytes(options + said)
        print(f"{len(said)} bytes of one connection")


if __name__ == "__main__":
    main(*sys.argv[1:])
