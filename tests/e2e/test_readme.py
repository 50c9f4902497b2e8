"""The README's shell blocks, typed in order into a real shell's place, with a real Envoy.

Ports are replaced by free ones, so that the test disturbs nobody; everything else is as written.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.lab.process import Child, wait_until
from bench.lab.stack import ROOT

README = (ROOT / "README.md").read_text()
SECTIONS = dict(part.split("\n", 1) for part in README.split("\n## ")[1:])
DOCUMENT = SECTIONS["Use it"].split("```yaml\n")[1].split("```")[0]
PORTS = ("10000", "9901", "9464", "4317")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


class Reader:
    """Somebody who follows the README in a folder of their own."""

    def __init__(self, running):
        self.running = running
        self.folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="cn")))
        (self.folder / "rollouts").mkdir()
        (self.folder / "rollouts" / "chat-model.yaml").write_text(DOCUMENT)
        self.ports = {port: free_port() for port in PORTS}
        for variant, port in (("stable", "8081"), ("canary", "8082")):
            self.ports[port] = self.upstream(variant)
        self.env = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "CANARY_RUN_DIR": str(self.folder / "run"),
            "CANARY_STATE_DIR": str(self.folder / "state"),
        }

    def upstream(self, variant):
        files = [str(self.folder / f"{variant}.{end}") for end in ("log", "port")]
        argv = [sys.executable, "-m", "bench.lab.upstream", "--variant", variant]
        argv += ["--log", files[0], "--port-file", files[1]]
        self.start(variant, argv, {**os.environ, "PYTHONPATH": str(ROOT)})
        path = Path(files[1])
        return wait_until(variant, lambda: path.exists() and path.read_text())

    def start(self, name, argv, env):
        child = Child(name, argv, self.folder, env=env)
        self.running.callback(child.stop)
        return child

    def types(self, line):
        for told, free in self.ports.items():
            line = re.sub(rf"(127\.0\.0\.1:){told}\b", rf"\g<1>{free}", line)
        if exported := re.match(r"export (\w+)=(\S+)", line):
            self.env[exported[1]] = exported[2]
            return ""
        command, background, _ = line.partition(" &")
        if not background:
            return self.finishes(line)
        child = self.start(command.split()[0], ["bash", "-c", f"exec {command}"], self.env)
        wait_until(f"{command} at work", lambda: self.at_work(command), alive=[child])
        return ""

    def finishes(self, line):
        if line.startswith("canary envoy"):
            line = line.replace(" > ", f" --listen 127.0.0.1:{self.ports['10000']} > ")
            line = line.replace(" > ", f" --admin 127.0.0.1:{self.ports['9901']} > ")
        if line.startswith("canary doctor"):
            line = f"canary doctor --admin http://127.0.0.1:{self.ports['9901']}"
        done = subprocess.run(
            ["bash", "-c", line.replace("curl ", "curl -sf ")],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def at_work(self, command):
        if command.startswith("canary"):
            status = ["bash", "-c", "canary status --json"]
            said = subprocess.run(
                status, cwd=self.folder, env=self.env, capture_output=True, check=False
            )
            return said.returncode == 0 and json.loads(said.stdout)["sidecar"].get("ready")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(self.ports["10000"]))) == 0


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (
            "Use it",
            [
                "chat-model: stable 95 %, canary 5 %",
                "stable\n",
                "stable 50 %, canary 50 %",
                "no findings",
            ],
        ),
        ("Observe", ["canary_table_age_seconds"]),
    ],
)
def test_what_the_readme_says_to_type_works_in_the_order_written(section, expected):
    lines = SECTIONS[section].split("```sh\n")[1].split("```")[0].splitlines()
    with ExitStack() as running:
        reader = Reader(running)
        said = "".join(reader.types(line) for line in lines)
    for text in expected:
        assert text in said


def test_every_make_target_the_readme_names_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)|`make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{''.join(target)}:", makefile, re.MULTILINE), target


def test_the_launch_the_readme_declares_runs_and_obeys_its_commands():
    parts = SECTIONS["Launch by itself"].split("\n```")
    steps, commands = (part.split("```")[0] for part in parts[1:4:2])
    with ExitStack() as running:
        reader = Reader(running)
        document = DOCUMENT.replace("weight: 95", "weight: 100").replace("weight: 5}", "weight: 0}")
        text = document + steps.removeprefix("yaml\n")
        (reader.folder / "rollouts" / "chat-model.yaml").write_text(text)
        reader.types("canary up rollouts/ &")
        typed = [line for line in commands.splitlines() if line.startswith("canary")]
        said = "".join(reader.types(line) for line in typed if "wait" not in line)
    assert len(typed) == 4
    for text in ("step 1", "latency_p99", "RolledBack"):
        assert text in said
