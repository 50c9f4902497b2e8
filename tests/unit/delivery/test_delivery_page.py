"""docs/delivery.md says what the code does: its document, its tables, its commands."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from launch_lab import Launch

from sidecar import rollout
from sidecar.cli import canary, deliver
from sidecar.delivery import Command, Phase, RefusedError
from sidecar.rollout import progress

PAGE = (Path(__file__).parents[3] / "docs/delivery.md").read_text()


def rows(heading):
    """The cells of the first table below a heading."""
    part = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_document_is_faultless_and_validates_as_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("chat-model.yaml").write_text(re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1])
    said = re.search(r"```console\n\$ canary (.*?)\n(.*?)```", PAGE, re.DOTALL)
    assert CliRunner().invoke(canary, said[1].split()).stdout == said[2]


def test_every_field_stands_in_the_table():
    table = " ".join(row[0] for row in rows("Fields"))
    for name, field in progress.Proceeding.model_fields.items():
        assert re.search(rf"`{field.alias}[`\[]", table), name
    for part, prefix in ((progress.Step, "steps"), (progress.Guardrail, "guardrails")):
        for field in part.model_fields.values():
            assert f"`{prefix}[].{field.alias}`" in table
    known = set(progress.Metric.__args__)
    said = next(row for row in rows("Fields") if row[0] == "`guardrails[].metric`")[1]
    assert {
        f"latency{one}" if one.startswith("_") else one for one in re.findall(r"`(\w+)`", said)
    } == known


def test_every_phase_is_explained():
    assert [row[0] for row in rows("Phases")] == [
        f"`{one}`"
        for one in (
            "Pending",
            "Running",
            "Paused",
            "Error",
            "Inconclusive",
            "Promoted",
            "RolledBack",
        )
    ]
    assert len(rows("Phases")) == len(Phase)


WAYS = {
    "Running": [],
    "Paused": [Command.PAUSE],
    "Promoted": [Command.PROMOTE],
    "RolledBack": [Command.ABORT],
}
COMMANDS = {row[0].strip("`"): dict(zip(WAYS, row[1:], strict=True)) for row in rows("Inputs")[3:]}


@pytest.mark.parametrize("phase", WAYS)
@pytest.mark.parametrize("command", Command)
def test_each_command_does_in_each_phase_what_the_table_says(command, phase):
    launch = Launch("chat", "[{weight: 5}, {weight: 100, approval: true}]")
    launch.tick(0)
    for before in WAYS[phase]:
        launch.give(before, 1)
    said = COMMANDS[command.value][phase]
    try:
        change = launch.give(command, 2)
    except RefusedError:
        assert said == "refused"
        return
    assert (change is None) == (said == "-")
    if said in set(Phase):
        assert launch.state.progress.phase == said


def test_the_exit_statuses_of_wait_are_those_of_the_code():
    part = PAGE.split("`canary wait` ends with")[1].split("\n## ")[0]
    said = [int(number) for number in re.findall(r"^\| (\d) \|", part, re.MULTILINE)]
    assert said == [deliver.REACHED, 1, 2, deliver.ENDED_OTHERWISE, deliver.TIMED_OUT]


def test_every_command_on_the_page_is_one():
    known = set(canary.list_commands(None))
    named = set(re.findall(r"canary ([a-z]+)", PAGE)) - {"up"}
    assert named <= known, named - known
    assert {one.value for one in Command} <= known


def test_the_examples_of_the_schema_would_be_taken():
    steps = rollout.schema()["properties"]["spec"]["properties"]["steps"]
    assert steps["examples"] == [[{"weight": 5, "hold": "10m"}, {"weight": 100}]]
