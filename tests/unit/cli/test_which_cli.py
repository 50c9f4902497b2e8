"""`canary which` offline: what it says about a request, and what it refuses."""

import dataclasses
import json

import pytest
import yaml
from click.testing import CliRunner

from bench.lab import oracle
from sidecar.cli import canary
from sidecar.cli import which as command
from sidecar.errors import CanaryError
from sidecar.routing import compile_table

DOCUMENT = {
    "apiVersion": "canary.dev/v1",
    "kind": "Rollout",
    "metadata": {"name": "chat"},
    "spec": {
        "match": {"hosts": ["*.example.com", "b.org"], "pathPrefix": "/v1"},
        "unit": [
            {"header": "x-user-id"},
            {"cookie": "sid"},
            {"query": "u"},
            {"clientAddress": True},
        ],
        "variants": [{"name": "stable", "weight": 95}, {"name": "canary", "weight": 5}],
    },
}


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "chat.yaml"
    path.write_text(yaml.safe_dump(DOCUMENT))

    def run(*words, name="chat"):
        return CliRunner().invoke(canary, ["which", name, "--file", str(path), *words])

    return run


@pytest.fixture
def told(run):
    def told(*words):
        result = run(*words, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.output)

    return told


def test_the_text_tells_every_step(run):
    lines = [line.rstrip() for line in run("--cookie", "sid=u3").output.splitlines()]
    position = oracle.position("chat", "u3")
    assert lines[:7] == [
        "chat: stable  (by weight)",
        "",
        "host       any.example.com  fits *.example.com or b.org",
        "path       /v1  fits /v1, whole segments",
        "unit       header x-user-id  absent or empty",
        '           cookie sid  "u3"  75 33',
        f"position   {position:#x}  {100 * position / (1 << 64):.6g} % of the line",
    ]
    assert lines[7].startswith("second     0x")
    rows = [" ".join(line.split()) for line in lines]
    assert ">░ stable 19 95 % 5 % to 100 % from 0x0ccccccccccccccc" in rows
    assert "█ canary 1 5 % 0 % to 5 % below 0x0ccccccccccccccc" in rows
    assert "headers    x-canary-chat: stable" in lines
    assert "weights    declared in files" in lines


@pytest.mark.parametrize(
    ("words", "source", "text"),
    [
        (["--header", "x-user-id=u1"], "header x-user-id", "u1"),
        (["--header", "X-User-Id: a=b"], "header x-user-id", "a=b"),
        (["--header", "x-user-id=", "--cookie", "sid=u2"], "cookie sid", "u2"),
        (["--cookie", "a=b", "--cookie", "sid=u2"], "cookie sid", "u2"),
        (["--header", "cookie=a=b; sid=u2"], "cookie sid", "u2"),
        (["--path", "/v1/chat?x=1&u=u3"], "query u", "u3"),
        (["--client-address", "203.0.113.7"], "client address", "203.0.113.7"),
        (["--client-address", "2001:DB8::0:1"], "client address", "2001:db8::1"),
    ],
)
def test_the_unit_is_the_first_source_that_gives_anything(told, words, source, text):
    said = told(*words)
    assert said["looked"][-1]["source"] == source
    assert said["unit"] == {"text": text, "hex": text.encode().hex()}
    assert all(one["hex"] == "" for one in said["looked"][:-1])
    assert said["reason"] == "weight"
    assert said["metadata"]["canary"]["chat"]["unit"] == said["second"].removeprefix("0x")


def test_without_a_unit_the_baseline_answers(told):
    said = told()
    assert (said["variant"], said["reason"], said["position"]) == ("stable", "no_unit", None)
    assert len(said["looked"]) == 4


@pytest.mark.parametrize(
    ("words", "silence"),
    [
        (["--host", "example.com"], ["host"]),
        (["--header", "Host: example.com"], ["host"]),
        (["--path", "/v10"], ["path"]),
        (["--host", "x.y", "--path", "/"], ["host", "path"]),
        (["--host", "B.ORG:443", "--path", "/v1?x=1"], []),
    ],
)
def test_a_rollout_that_does_not_speak_says_why(run, told, words, silence):
    said = told(*words)
    assert (said["speaks"], said["silence"]) == (not silence, silence)
    assert (said["headers"] == {}) == bool(silence)
    assert ("does not speak" in run(*words).output) == bool(silence)
    assert run(*words).output.count("does not fit ") == len(silence)


def test_a_race_is_shown_with_its_clocks(tmp_path):
    path = tmp_path / "race.yaml"
    variants = [{"name": f"v{i}", "weight": 1} for i in range(5)]
    spec = {**DOCUMENT["spec"], "variants": variants}
    path.write_text(yaml.safe_dump({**DOCUMENT, "spec": spec}))
    words = ["which", "chat", "--file", str(path)]
    racers = {"v0", "v3", "v4"}
    for user in range(30):
        asked = [*words, "--header", f"x-user-id=u{user}"]
        said = json.loads(CliRunner().invoke(canary, [*asked, "--json"]).output)
        clocks = {one["variant"]: one["rings_at"] for one in said["clocks"]}
        assert set(clocks) == (racers if said["variant"] in racers else set())
        if clocks:
            assert min(clocks, key=clocks.get) == said["variant"]
            assert "the first to ring wins" in CliRunner().invoke(canary, asked).output


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["--header", "nothing"], "write --header"),
        (["--client-address", "localhost"], "write --client-address"),
    ],
)
def test_what_is_no_request_is_refused_with_a_remedy(run, words, remedy):
    error = run(*words).exception
    assert isinstance(error, CanaryError)
    assert error.remedy.startswith(remedy)


def test_a_name_that_is_not_there_lists_those_that_are(run):
    error = run(name="chats").exception
    assert isinstance(error, CanaryError)
    assert (str(error.args[0]), error.remedy) == ("no rollout 'chats'", "there are: chat")


def test_nobody_running_is_said_with_what_to_do(tmp_path):
    error = CliRunner().invoke(canary, ["which", "chat", "--run-dir", str(tmp_path)]).exception
    assert "no sidecar answers" in str(error)


def test_a_data_path_that_decides_otherwise_is_an_error(run, monkeypatch):
    def salted(routes, *rest):
        return compile_table([dataclasses.replace(r, salt=b"?") for r in routes], *rest)

    monkeypatch.setattr(command, "compile_table", salted)
    error = run("--header", "x-user-id=u1").exception
    assert "otherwise than its specification" in str(error)
