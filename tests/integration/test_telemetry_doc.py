"""Every command of docs/observe.md does what stands beside it."""

import re
import shlex
import subprocess
import sys

import pytest
import yaml
from app_lab import House
from click.testing import CliRunner
from control_lab import short_dir
from telemetry_lab import collector, free_port, scrape

from bench.lab.process import wait_until
from bench.lab.stack import ROOT
from sidecar.cli import canary

TEXT = (ROOT / "docs" / "observe.md").read_text()
SCRIPTS = [block.replace("\\\n", " ") for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)]


def test_the_first_block_exports_to_a_collector_and_a_scraper():
    export, up = (shlex.split(line, comments=True) for line in SCRIPTS[0].splitlines())
    name, _, endpoint = export[1].partition("=")
    assert (export[0], endpoint) == ("export", "http://127.0.0.1:4317")
    assert (up[:2], up[3:]) == (["canary", "up"], ["--metrics", "127.0.0.1:9464"])
    port = free_port()
    with short_dir() as root, House(root) as house, collector() as received:
        house.env |= {name: f"http://127.0.0.1:{received.port}"}
        house.env["OTEL_METRIC_EXPORT_INTERVAL"] = "100"
        running = house.start("up", ROOT / up[2], "--metrics", f"127.0.0.1:{port}")
        wait_until("OTLP", lambda: "canary.table.age" in received.metrics, alive=[running])
        assert scrape(port)["canary_control_stream_connected"] == 1


def test_the_envoy_block_prints_a_configuration_with_both(monkeypatch):
    monkeypatch.chdir(ROOT)
    [command] = [shlex.split(block) for block in SCRIPTS if block.startswith("canary envoy")]
    result = CliRunner().invoke(canary, command[1:])
    assert result.exit_code == 0
    assert yaml.safe_load(result.output)["static_resources"]
    assert result.output.count("canary.variant.chat-model") == 2
    assert "value: 10.0" in result.output


@pytest.mark.timeout(240)
def test_the_measurement_runs():
    [command] = [shlex.split(block) for block in SCRIPTS if "bench" in block]
    assert command == [".venv/bin/python", "-m", "bench.observing"]
    argv = [sys.executable, *command[1:], "--exchanges", "20", "--rounds", "1"]
    ran = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stderr
    for line in ("off, again", "traces, 10 % sampled", "the SDK's Histogram.record"):
        assert line in ran.stdout


def test_every_flag_and_variable_it_names_is_one(monkeypatch):
    monkeypatch.chdir(ROOT)
    helped = "".join(
        CliRunner().invoke(canary, [name, "--help"], terminal_width=200).output
        for name in ("up", "sidecar", "controller", "envoy")
    )
    named = set(re.findall(r"`?(--[a-z][a-z-]+|CANARY_[A-Z_]+)", TEXT))
    assert named
    assert not [word for word in named if word not in helped]
