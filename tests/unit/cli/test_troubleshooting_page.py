"""docs/troubleshooting.md has every finding, with the severity it has."""

import re
import shlex
from pathlib import Path

from click.testing import CliRunner

from sidecar.cli import canary
from sidecar.extproc.findings import SEVERITIES

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "troubleshooting.md"


def test_every_finding_is_explained_and_none_that_is_not_there():
    rows = re.findall(
        r"^\| `([a-z-]+)` \| (\w+) \| .{20,} \| .{5,} \|$", PAGE.read_text(), re.MULTILINE
    )
    assert len(rows) == len(set(rows))
    assert dict(rows) == SEVERITIES


def test_every_finding_is_found_somewhere():
    room = ROOT / "sidecar"
    code = "".join(
        path.read_text() for path in [*room.glob("extproc/*.py"), *room.glob("cli/*.py")]
    )
    used = set(re.findall(r'Finding\(\s*"([a-z-]+)"', code))
    assert used | {"sidecar-unreachable", "controller-unreachable"} == set(SEVERITIES)


def test_which_prints_what_the_page_shows(monkeypatch):
    monkeypatch.chdir(ROOT / "deploy" / "examples")
    shown = re.search(r"\$ canary (which .*)\n((?:.*\n)*?)```", PAGE.read_text())
    result = CliRunner().invoke(canary, shlex.split(shown[1]))
    assert [line.rstrip() for line in result.output.splitlines()] == shown[2].splitlines()
