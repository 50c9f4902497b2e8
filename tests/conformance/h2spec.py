"""h2spec's generic, HTTP/2 and HPACK cases against the native engine: `make h2spec`.

    python tests/conformance/h2spec.py [FOLDER OF h2spec]

h2spec (https://github.com/summerwind/h2spec) asks by GET and expects a web server's answers; a gRPC
server refuses each with 405 and no body. Cases for which that makes a difference, and the few in
which nghttp2 is more lenient, stand in KNOWN with their reason. Any other failure ends this with
status 1.
"""

import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

SECTIONS = ("generic", "http2", "hpack")
TIMEOUT_S = 1
BEFORE = "the call is refused, and its stream closed, before the wrong frame comes"
NO_BODY = "a refusal has no body whose flow the case could watch"
CLOSED = (
    "nghttp2 passes over what comes for a closed stream; it would have to remember each to tell"
)
PRIORITIES = (
    "we say SETTINGS_NO_RFC7540_PRIORITIES, and nghttp2 then reads no PRIORITY frame at all"
)
# (section, what the case sends) -> why it does not pass. tests/integration/test_transport_frames.py
# puts the same questions to a gRPC call, except for what never matters to one.
#
# REFUSED_FIRST is what such a case got instead; whether it did depends on how its frames were cut
# into packets.
REFUSED_FIRST = re.compile(
    r"(HEADERS Frame \(length:\d+, flags:0x05|RST_STREAM Frame \(length:4, flags:0x00)"
    r", stream_id:1\)$"
)
KNOWN = {
    ("generic/2", "Sends a WINDOW_UPDATE frame on half-closed (remote) stream"): NO_BODY,
    ("generic/2", "Sends a PRIORITY frame on half-closed (remote) stream"): NO_BODY,
    ("http2/5.1", "closed: Sends a DATA frame after sending RST_STREAM frame"): CLOSED,
    ("http2/5.1", "closed: Sends a HEADERS frame after sending RST_STREAM frame"): CLOSED,
    ("http2/5.1", "closed: Sends a DATA frame"): CLOSED,
    ("http2/5.1", "closed: Sends a HEADERS frame"): CLOSED,
    ("http2/5.1.1", "Sends stream identifier that is numerically smaller than previous"): CLOSED,
    (
        "http2/5.1.2",
        "Sends HEADERS frames that causes their advertised concurrent stream limit to be exceeded",
    ): "each is refused at once: the limit is never reached (test_transport_abuse.py reaches it)",
    ("http2/5.3.1", "Sends PRIORITY frame that depend on itself"): PRIORITIES,
    ("http2/6.3", "Sends a PRIORITY frame with 0x0 stream identifier"): PRIORITIES,
    ("http2/6.5.3", "Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE"): NO_BODY,
    (
        "http2/6.9.1",
        "Sends SETTINGS frame to set the initial window size to 1 and sends HEADERS frame",
    ): NO_BODY,
    ("http2/6.9.2", "Changes SETTINGS_INITIAL_WINDOW_SIZE after sending HEADERS frame"): NO_BODY,
    ("http2/6.9.2", "Sends a SETTINGS frame for window size to be negative"): NO_BODY,
}


def find(folder: str = "") -> str | None:
    """Where h2spec is: in a folder, or on the path."""
    return shutil.which("h2spec", path=folder or None)


def run(program: str, *, strict: bool = True) -> dict[tuple[str, str], str]:
    """Run every case against a native engine; return by (section, text) "" or what failed."""
    from transport_lab import serving  # noqa: PLC0415 - needs the path above

    with serving("tcp") as (_, place), tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [program, *SECTIONS, "--host", "127.0.0.1", "--port", str(place.address[1])]
        command += ["--timeout", str(TIMEOUT_S), "--junit-report", str(report)]
        subprocess.run(
            [*command, *(["--strict"] if strict else [])], check=False, capture_output=True
        )
        return dict(_read(report))


def _read(report: Path):
    for case in ET.parse(report).iter("testcase"):
        name = (case.get("package", ""), case.get("classname", ""))
        if case.find("skipped") is not None:
            yield name, "skipped"
        else:
            wrong = case.find("failure") if case.find("failure") is not None else case.find("error")
            yield name, "" if wrong is None else " ".join((wrong.text or "failed").split())


def explained(name: tuple[str, str], why: str) -> str:
    """Say why a case may fail as it did; "" if nobody knows."""
    return KNOWN.get(name) or (BEFORE if REFUSED_FIRST.search(why) else "")


def main() -> int:
    """Print the cases that failed, and whether any of them is news."""
    program = find(*sys.argv[1:2])
    if program is None:
        print("h2spec is missing: go install github.com/summerwind/h2spec/cmd/h2spec@latest")
        return 1
    results = run(program)
    failed = {name: why for name, why in results.items() if why}
    for name, why in failed.items():
        reason = explained(name, why)
        print(f"{'known' if reason else 'NEW'}  {' | '.join(name)}")
        print(f"    {reason or why}")
    passed = len(results) - len(failed)
    print(f"h2spec: {len(results)} cases, {passed} passed, {len(failed)} not (reasons above)")
    return int(any(not explained(name, why) for name, why in failed.items()))


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
