"""What the folders' READMEs say can be done: links lead somewhere, commands are ones that exist.

A command that can run here is run; one for a cluster is held against the manifests it names.
"""

import re
import shlex
from pathlib import Path

import click
import pytest
from unit.deploy import kustomize, published

from sidecar.cli import canary

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
READMES = [ROOT / "README.md", DEPLOY / "README.md"] + [
    DEPLOY / name / "README.md" for name in ("istio", "envoy-gateway", "kubernetes")
]


def commands(readme):
    """The indented lines, continued ones joined; what stands in fences is typed elsewhere."""
    text = re.sub(r"^```.*?^```", "", readme.read_text(), flags=re.DOTALL | re.MULTILINE)
    text = text.replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if re.match(r" {4}\S", line)]


COMMANDS = [(readme.parent.name, line) for readme in READMES for line in commands(readme)]


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.parent.name)
def test_every_link_leads_somewhere(readme):
    links = re.findall(r"\]\(([^)#]+)", readme.read_text())
    assert [link for link in links if not (readme.parent / link).exists()] == []


@pytest.mark.parametrize("readme", READMES[2:], ids=lambda path: path.parent.name)
def test_every_file_of_a_folder_is_told_and_every_one_told_is_there(readme):
    rows = [line.split("|")[1] for line in readme.read_text().splitlines() if line[:3] == "| `"]
    named = {name.split("/")[0] for row in rows for name in re.findall(r"`([\w./-]+)`", row)}
    there = {path.name for path in readme.parent.iterdir()} - {"README.md", "kustomization.yaml"}
    told = {name for name in named if (readme.parent / name).exists()}
    assert told == there


def is_command_of_canary(words):
    name, *rest = words
    command = canary.get_command(click.Context(canary), name)
    command.make_context(name, rest)


def in_a_pod(words):
    """`kubectl --namespace N exec deployment/NAME [--container C] -- canary ...`."""
    options, inside = words[: words.index("--")], words[words.index("--") + 1 :]
    flag, namespace, verb, target, *rest = options
    assert (flag, verb, target.partition("/")[0]) == ("--namespace", "exec", "deployment")
    found = {
        (one["metadata"]["namespace"], one["metadata"]["name"]): one["spec"]["template"]["spec"]
        for folder in ("base", "overlays/istio")
        for one in kustomize.build(DEPLOY / "kubernetes" / folder)
        if one["kind"] == "Deployment"
    }
    pod = found[namespace, target.partition("/")[2]]
    containers = [one["name"] for one in [*pod["containers"], *pod.get("initContainers", [])]]
    assert rest in ([], ["--container", containers[-1]])
    assert inside[0] == "canary"
    is_command_of_canary(inside[1:])


@pytest.mark.parametrize(("folder", "line"), COMMANDS)
def test_every_command_is_one_that_works(folder, line, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(line, comments=True)
    if words[:2] == ["kubectl", "kustomize"] or words[:3] == ["kubectl", "apply", "-k"]:
        assert kustomize.build(Path(words[-1]))
        assert words[-1].removeprefix("deploy/") in published.FOLDERS
    elif words[0] == "kubectl":
        in_a_pod(words[1:])
    elif words[:2] == ["podman", "build"]:
        told = dict(zip(words[2:-1:2], words[3:-1:2], strict=True))
        assert Path(told["--file"]).exists()
        assert told["--tag"] in (DEPLOY / "kubernetes/base/controller.yaml").read_text()
        assert words[-1] == "."
    elif words[0] == "python":
        assert Path(words[1]) == Path(published.__file__).relative_to(ROOT)
    else:
        pytest.fail(f"nobody knows whether this works: {line}")
