"""A native server on a socket of its own, and peers that say exactly what a test wants said.

`Peer` is a raw HTTP/2 client: it builds frames by hyperframe, sends whatever it is told to, right
or wrong, and keeps what came back by stream. Nothing here waits longer than DEADLINE_S.
"""

import contextlib
import json
import re
import resource
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from hpack import Decoder, Encoder
from hyperframe import frame as h2
from messages import request_headers

from sidecar.extproc._transport import Server
from sidecar.routing import Route, Table, UnitSource, Variant, compile_table

DEADLINE_S = 60
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATH = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
MESSAGE = request_headers([(":path", b"/"), ("x-user-id", b"u1")])
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CALM = 0x0, 0x1, 0x2, 0x7, 0xB
LARGEST_FRAME = 16_384


def make_table(variant="stable", version="v", rollouts=("chat",)):
    """A table whose every rollout gives everybody the one variant."""
    unit = (UnitSource("header", "x-user-id"),)
    routes = [Route(name, unit, name.encode(), (Variant(variant, 1),)) for name in rollouts]
    return Table(compile_table(routes, version))


TABLE = make_table()
ANSWER = TABLE.answer(MESSAGE)


def block(path=PATH, method="POST", content_type="application/grpc", extra=()):
    """A header block that leaves nothing in HPACK's table: it may be sent again and again."""
    fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "canary")]
    fields += [("content-type", content_type)] if content_type else []
    fields += [("te", "trailers"), *extra]
    return Encoder().encode([(name, value, True) for name, value in fields])


BLOCK = block()


def grpc_message(message, flag=0):
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


def headers(stream, encoded=BLOCK, flags=("END_HEADERS",)):
    return h2.HeadersFrame(stream, encoded, flags=list(flags))


def data(stream, payload, *, end=False):
    return h2.DataFrame(stream, payload, flags=["END_STREAM"] if end else [])


def reset(stream, code=INTERNAL_ERROR):
    return h2.RstStreamFrame(stream, code)


def settings(**values):
    return h2.SettingsFrame(0, {getattr(h2.SettingsFrame, name): v for name, v in values.items()})


def call(stream, *messages, end=False):
    """Everything Envoy sends for one decision, but the reset."""
    frames = [headers(stream)] + [data(stream, grpc_message(message)) for message in messages]
    return [*frames, data(stream, b"", end=True)] if end else frames


@dataclass
class Stream:
    """What came back on one stream."""

    head: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset: int | None = None

    @property
    def over(self):
        return self.ended or self.reset is not None

    @property
    def messages(self):
        """Those that are whole."""
        found, rest = [], bytes(self.body)
        while len(rest) >= 5 and len(rest) >= (size := 5 + int.from_bytes(rest[1:5], "big")):
            found.append(rest[5:size])
            rest = rest[size:]
        return found

    @property
    def status(self):
        """The gRPC status, wherever it stands."""
        return int({**self.head, **self.trailers}.get("grpc-status", -1))


class Peer:
    """One connection. `manners`: it acknowledges SETTINGS and PING as a client should."""

    def __init__(self, connected, *, manners=True):
        self.socket = connected
        self.socket.settimeout(DEADLINE_S)
        self.manners = manners
        self.streams = {}
        self.frames = []  # all that came which belongs to no call
        self.over = False  # it was closed by the server
        self._buffer = b""
        self._decoder = Decoder()
        self._block = b""

    def greet(self, **values):
        """Preface and SETTINGS, and a connection window that is never full."""
        self.send(PREFACE, settings(**values), h2.WindowUpdateFrame(0, (1 << 31) - 65_536))
        return self

    def send(self, *parts):
        """Send frames or bytes. A server that closes meanwhile is found out by reading."""
        raw = b"".join(p if isinstance(p, bytes) else p.serialize() for p in parts)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(raw)

    def stream(self, number):
        return self.streams.setdefault(number, Stream())

    def result(self, number):
        """Read until a stream is over, and return it."""
        self.until(lambda: self.stream(number).over)
        return self.stream(number)

    def answers(self, number, count=1):
        """Read until so many whole messages came on a stream, and return them."""
        self.until(lambda: len(self.stream(number).messages) >= count)
        return self.stream(number).messages

    def ping(self):
        """Read until everything sent before has been taken by the server."""
        mark = len(self.of(h2.PingFrame))
        self.send(h2.PingFrame(0, b"lab ping"))
        self.until(lambda: any("ACK" in f.flags for f in self.of(h2.PingFrame)[mark:]))

    def goaway(self):
        """Read until the server says GOAWAY, and return its frame."""
        self.until(lambda: self.of(h2.GoAwayFrame))
        return self.of(h2.GoAwayFrame)[-1]

    def closed(self):
        """Read until the server has closed."""
        while not self.over:
            self.read()
        return True

    def of(self, kind):
        return [frame for frame in self.frames if isinstance(frame, kind)]

    def until(self, condition):
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            if self.over:
                raise EOFError(f"closed by the server, after {self.frames}")
            assert time.monotonic() < deadline, self.frames
            self.read()

    def read(self):
        try:
            received = self.socket.recv(1 << 16)
        except ConnectionResetError:
            received = b""
        self.over = not received
        self._buffer += received
        at = 0
        while len(self._buffer) - at >= 9:
            frame, size = h2.Frame.parse_frame_header(memoryview(self._buffer)[at : at + 9])
            if len(self._buffer) - at < 9 + size:
                break
            frame.parse_body(memoryview(self._buffer)[at + 9 : at + 9 + size])
            self._take(frame)
            at += 9 + size
        self._buffer = self._buffer[at:]

    def _take(self, frame):
        if isinstance(frame, h2.HeadersFrame | h2.ContinuationFrame):
            self._take_headers(frame)
        elif isinstance(frame, h2.DataFrame):
            self.stream(frame.stream_id).body += frame.data
        elif isinstance(frame, h2.RstStreamFrame):
            self.stream(frame.stream_id).reset = frame.error_code
        else:
            self.frames.append(frame)
            self._answer(frame)
        if "END_STREAM" in frame.flags:
            self.stream(frame.stream_id).ended = True

    def _take_headers(self, frame):
        self._block += bytes(frame.data)
        if "END_HEADERS" in frame.flags:
            stream = self.stream(frame.stream_id)
            into = stream.trailers if stream.head else stream.head
            into.update(self._decoder.decode(self._block))
            self._block = b""

    def _answer(self, frame):
        if not self.manners or "ACK" in frame.flags:
            return
        if isinstance(frame, h2.SettingsFrame):
            self.send(h2.SettingsFrame(0, flags=["ACK"]))
        elif isinstance(frame, h2.PingFrame):
            self.send(h2.PingFrame(0, frame.opaque_data, flags=["ACK"]))

    def unread(self):
        """Whether something lies there to be read."""
        return bool(select.select([self.socket], [], [], 0)[0])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


class Place:
    """A Unix socket or a TCP port, and who connects to it."""

    def __init__(self, kind):
        self.kind = kind
        self.folder = Path(tempfile.mkdtemp(prefix="cw"))
        self.address = str(self.folder / "s") if kind == "unix" else ("127.0.0.1", 0)

    def listen(self):
        listener = socket.socket(socket.AF_UNIX if self.kind == "unix" else socket.AF_INET)
        listener.bind(self.address)
        listener.listen(1024)
        listener.setblocking(False)
        self.address = listener.getsockname()
        return listener

    def connect(self, *, manners=True):
        """A connection that has said nothing yet."""
        connected = socket.socket(socket.AF_UNIX if self.kind == "unix" else socket.AF_INET)
        # Without a time-out: on a Unix socket with a full backlog it would fail, not wait.
        try:
            connected.connect(self.address)
        except OSError:
            connected.close()
            raise
        return Peer(connected, manners=manners)

    def greeted(self, **values):
        return self.connect().greet(**values)


@contextlib.contextmanager
def serving(kind="unix", *, table=TABLE, threads=1, greeting_ms=0, stall_ms=0, sampling=None):
    """A native server in this process. Yields (server, place)."""
    place = Place(kind)
    server = Server(
        place.listen().detach(), threads, kind == "unix", sampling, None, greeting_ms, stall_ms
    )
    try:
        if table:
            server.swap(table)
            server.set_serving(True)
        yield server, place
    finally:
        server.close()
        shutil.rmtree(place.folder)


class ServerProcess:
    """A native server alone in a process, so that its memory and descriptors are its own."""

    def __init__(self, kind="unix", *, greeting_ms=0, stall_ms=0, descriptors=0):
        self.place = Place(kind)
        listener = self.place.listen()
        options = [kind, listener.fileno(), greeting_ms, stall_ms, descriptors]
        with listener:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__)), *map(str, options)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[listener.fileno()],
                cwd=Path(__file__).parent,
                text=True,
            )
        self.counters()

    def counters(self):
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def count(self, name, least=1):
        """Wait until so many were counted."""
        wait_for(lambda: self.counters()[name] >= least, name)

    def resident_mb(self):
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def still_answers(self):
        """Whether somebody new is answered."""
        with self.place.greeted() as peer:
            peer.send(*call(1, MESSAGE))
            return peer.answers(1) == [ANSWER]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        assert self._process.wait(DEADLINE_S) == 0
        self._process.stdout.close()
        shutil.rmtree(self.place.folder)


def main():
    """Serve on an inherited listener; a line in is the counters out; the end of input ends it."""
    kind, *numbers = sys.argv[1:]
    listener, greeting_ms, stall_ms, descriptors = map(int, numbers)
    if descriptors:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    server = Server(listener, 1, kind == "unix", None, None, greeting_ms, stall_ms)
    server.swap(TABLE)
    server.set_serving(True)
    for _ in sys.stdin:
        print(json.dumps(server.counters()), flush=True)  # noqa: T201
    server.close()


def wait_for(condition, what):
    """Poll what only another thread or process can bring about."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.002)


if __name__ == "__main__":
    main()
