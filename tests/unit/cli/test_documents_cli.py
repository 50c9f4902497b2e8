"""`canary validate` and `canary schema` as people see them."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sidecar import rollout
from sidecar.cli import canary
from sidecar.errors import CanaryError

EXAMPLES = Path(__file__).parents[3] / "deploy/examples/rollouts"
GOOD = """\
apiVersion: canary.dev/v1
kind: Rollout
metadata: {name: chat}
spec:
  unit: [{header: x-user-id}]
  variants: [{name: stable, weight: 1}, {name: canary, weight: 2}, {name: done, weight: 0}]
"""


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(canary, [str(word) for word in words])


@pytest.fixture(autouse=True)
def nobody_runs(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("CANARY_RUN_DIR", str(tmp_path_factory.mktemp("run")))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "b.yaml").write_text(GOOD)
    (tmp_path / "a.yml").write_text(GOOD.replace("name: chat", "name: mail"))
    (tmp_path / ".hidden.yaml").write_text("nonsense")
    (tmp_path / "notes.txt").write_text("nonsense")
    return tmp_path


def test_good_files_give_one_line_per_rollout_with_its_split(folder):
    result = run("validate", folder)
    assert result.stdout == (
        f"{folder}/a.yml:1: mail: stable 33.333 %, canary 66.667 %, done 0 %\n"
        f"{folder}/b.yaml:1: chat: stable 33.333 %, canary 66.667 %, done 0 %\n"
    )
    assert (result.stderr.startswith("canary: not held against a running"), result.exit_code) == (
        True,
        0,
    )


def test_a_controller_that_is_named_must_answer(folder):
    control = f"unix://{folder}/nobody.sock"
    result = run("validate", folder, "--control", control)
    assert isinstance(result.exception, CanaryError) or result.exit_code == 1
    assert "no controller answers" in f"{result.exception}{result.output}"


def test_the_shipped_examples_are_good():
    result = run("validate", EXAMPLES)
    assert result.exit_code == 0
    assert "chat-model: stable 95 %, canary 5 %" in result.stdout


def test_a_share_too_small_to_print_is_not_called_zero(folder):
    (folder / "b.yaml").write_text(GOOD.replace("weight: 2", "weight: 0.000001"))
    assert "stable 100 %, canary <0.001 %, done 0 %" in run("validate", folder).stdout


def test_every_mistake_is_printed_and_good_files_still_show(folder):
    (folder / "b.yaml").write_text(GOOD.replace("weight: 1", "weight: -1") + "  slat: x\n")
    result = run("validate", folder)
    assert result.stdout == (
        f"{folder}/b.yaml:6:37: spec.variants[0].weight: is negative (-1)\n"
        "  remedy: write 0 or more; 0 sends nobody\n"
        f"{folder}/b.yaml:7:3: spec.slat: is not a field here\n"
        "  remedy: did you mean 'salt'?\n"
        f"{folder}/a.yml:1: mail: stable 33.333 %, canary 66.667 %, done 0 %\n"
    )
    assert (result.stderr, result.exit_code) == ("canary: 2 mistakes\n", 1)


def test_files_are_taken_together(folder):
    (folder / "a.yml").write_text(GOOD)
    result = run("validate", folder / "a.yml", folder / "b.yaml")
    assert f"'chat' is declared also in {folder}/b.yaml:3" in result.stdout
    assert f"'chat' is declared also in {folder}/a.yml:3" in result.stdout
    assert result.exit_code == 1


def test_a_file_named_twice_is_read_once(folder):
    result = run("validate", folder, folder / "a.yml", folder)
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 2


def test_a_folder_without_rollouts_is_a_mistake(tmp_path):
    result = run("validate", tmp_path)
    assert result.stdout.startswith(f"{tmp_path}: the folder has no *.yaml, *.yml, *.json\n")
    assert (result.stderr, result.exit_code) == ("canary: 1 mistake\n", 1)


def test_a_file_too_large_is_one_mistake(folder):
    with (folder / "b.yaml").open("wb") as file:
        file.truncate(1 << 40)
    result = run("validate", folder)
    assert f"{folder}/b.yaml:1:1: the file is larger than 4 MiB\n" in result.stdout
    assert result.exit_code == 1


def test_an_unreadable_file_does_not_hide_the_others(folder):
    (folder / "c.yaml").symlink_to("nowhere")
    result = run("validate", folder)
    assert "c.yaml: no such file" in result.stdout
    assert "mail: stable" in result.stdout
    assert result.exit_code == 1


@pytest.mark.parametrize("words", [[], ["--nonsense"], ["not-there.yaml"]])
def test_a_wrong_command_line_is_status_2(words):
    assert run("validate", *words).exit_code == 2


def test_long_lines_and_brackets_are_printed_as_they_are(tmp_path):
    path = tmp_path / f"[bold]{'x' * 90}.yaml"
    path.write_text(GOOD)
    assert run("validate", path).stdout.startswith(f"{path}:1: chat: ")


def test_schema_prints_the_schema_that_validation_uses():
    result = run("schema")
    assert json.loads(result.stdout) == rollout.schema()
    assert result.exit_code == 0


def fenced(language: str) -> list[str]:
    page = (EXAMPLES.parents[2] / "docs/rollout.md").read_text()
    return [part.partition("\n```")[0] for part in page.split(f"```{language}\n")[1:]]


@pytest.mark.parametrize("index", [0, 1])
def test_the_documents_of_the_reference_page_are_good(index, tmp_path):
    (tmp_path / "chat-model.yaml").write_text(fenced("yaml")[index])
    assert run("validate", tmp_path).exit_code == 0


def test_the_reference_page_shows_what_validate_prints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good, bad = (one.partition("\n")[2] + "\n" for one in fenced("console"))
    path = Path("chat-model.yaml")
    path.write_text(fenced("yaml")[0])
    assert run("validate", path).stdout == good
    path.write_text(fenced("yaml")[0].replace("pathPrefix", "pathprefix"))
    path.write_text(path.read_text().replace("weight: 5", "weight: -5"))
    assert run("validate", path).output == bad


def test_the_reference_page_names_every_field():
    pages = [EXAMPLES.parents[2] / "docs" / name for name in ("rollout.md", "delivery.md")]
    page = "".join(one.read_text() for one in pages)

    def fields(node: dict) -> set[str]:
        inner = [*node.get("properties", {}).values(), node.get("items", {})]
        return set(node.get("properties", {})).union(*(fields(one) for one in inner if one))

    for field in fields(rollout.schema()):
        assert re.search(rf"[`.]{field}[`.\[]", page), field
