"""The rows' C alone under sanitizers: bytes that nobody should send, and threads side by side."""

import os
import subprocess
from pathlib import Path

import pytest
from entries import entry, message

HERE = Path(__file__).parent
NATIVE = HERE.parents[1] / "native"
NOUNS = ("rows", "logs", "accesslog", "wire", "marks", "odds", "recent", "journal", "hash")


@pytest.mark.parametrize(
    ("sanitizers", "abuse"), [("address,undefined", "damage"), ("thread", "threads")]
)
def test_abuse_is_survived_without_a_wrong_step(tmp_path, sanitizers, abuse):
    flags = ["-std=c11", "-O1", "-g", f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"]
    sources = [HERE / "rows_abuse.c", *(NATIVE / f"sc_{noun}.c" for noun in NOUNS)]
    program = tmp_path / "rows_abuse"
    build = [
        os.environ.get("CC", "cc"),
        *flags,
        f"-I{NATIVE}",
        *sources,
        "-o",
        program,
        "-lpthread",
    ]
    subprocess.run(build, check=True)
    given = tmp_path / "message"
    given.write_bytes(message(entry(), entry(code=500, grpc_status="2")))
    done = subprocess.run([program, given, abuse], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
