"""`canary simulate`: what it prints about a list of people, and which lists it refuses."""

import json

import pytest
import yaml
from click.testing import CliRunner

from bench.lab import oracle
from sidecar.cli import canary, simulate

USERS = [f"u{number}" for number in range(1000)]


def document(percent, **spec):
    return {
        "apiVersion": "canary.dev/v1",
        "kind": "Rollout",
        "metadata": {"name": "chat"},
        "spec": {
            "match": {"hosts": ["chat.example.com"], "pathPrefix": "/v1"},
            "unit": [{"header": "x-user-id"}],
            "variants": [{"name": "stable", "weight": 100}, {"name": "canary", "weight": 0}],
            "segments": [
                {
                    "name": "eu",
                    "when": [{"header": "x-country", "in": ["de", "fr"]}],
                    "weights": {"canary": percent},
                }
            ],
            **spec,
        },
    }


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(document(10)))
    (tmp_path / "new.yaml").write_text(yaml.safe_dump(document(50)))
    people = [f"{user},{'de' if number % 2 else 'us'}" for number, user in enumerate(USERS)]
    (tmp_path / "users.csv").write_text("x-user-id,x-country\n" + "\n".join(people) + "\n")

    def run(*words, rollouts="new.yaml", stdin=None):
        return CliRunner().invoke(canary, ["simulate", rollouts, *words], input=stdin)

    return run


EU = USERS[1::2]
AT_10, AT_50 = (len(oracle.cohort("chat", EU, oracle.share(p, 100))) for p in (10, 50))


def test_the_split_by_segment_is_exact(run, monkeypatch):
    monkeypatch.setattr(simulate, "_BATCH", 64)
    result = run("--units", "users.csv", "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["units"] == 1000
    assert said["rollouts"][0]["given"] == [
        {"variant": "canary", "reason": "segment:eu", "units": AT_50},
        {"variant": "stable", "reason": "segment:eu", "units": 500 - AT_50},
        {"variant": "stable", "reason": "weight", "units": 500},
    ]
    lines = [" ".join(line.split()) for line in run("--units", "users.csv").stdout.splitlines()]
    assert lines[:2] == ["chat: 1,000 of 1,000 units", "units share canary stable"]
    assert f"segment:eu 500 50.000 % {AT_50} {500 - AT_50}" in lines
    assert f"all 1,000 100.000 % {AT_50} {1000 - AT_50}" in lines


def test_against_the_old_rollout_it_says_who_moves(run):
    result = run("--units", "users.csv", "--against", "old.yaml")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    moved = AT_50 - AT_10
    assert f"moves {moved} units ({moved / 10:.3f} %)" in lines
    assert f"{moved} stable (segment:eu) -> canary (segment:eu)" in lines


def test_another_salt_is_named_as_the_reason(run, tmp_path):
    (tmp_path / "new.yaml").write_text(yaml.safe_dump(document(10, salt="another")))
    result = run("--units", "users.csv", "--against", "old.yaml", "--json")
    [chat] = json.loads(result.stdout)["rollouts"]
    assert any("salt" in one for one in chat["because"])
    assert sum(one["units"] for one in chat["moved"]) > 0


def test_units_are_bytes_and_a_token_in_a_column_is_said_to_be_in_vain(run):
    result = run("--units", "-", stdin=b"\xef\xbb\xbfx-user-id,canary-force\n\xff\xfe,v1.token\n")
    assert result.exit_code == 0, result.output
    assert "no force token holds here" in result.stderr
    assert "1 of 1 units" in result.stdout


def test_two_pasts_are_refused(run):
    error = run("--units", "users.csv", "--against", "old.yaml", "--running").exception
    assert "two pasts" in str(error)


def test_what_no_column_gives_is_said(run):
    result = run("--units", "-", stdin="x-user-id\nu1\n")
    assert result.exit_code == 0
    assert "no column gives header x-country, and rollout 'chat' looks there" in result.stderr


def test_a_host_column_says_for_whom_the_rollout_speaks(run):
    people = "x-user-id,host,path\nu1,chat.example.com,/v1/a\nu1,other.example.com,/v1\nu1,,/v1\n"
    result = run("--units", "-", "--json", stdin=people)
    [chat] = json.loads(result.stdout)["rollouts"]
    assert {one["reason"]: one["units"] for one in chat["given"]} == {None: 2, "weight": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no head"),
        ("#a,#b\n1,2\n", "no head"),
        ("x-user-id,x y\n", "-:1: 'x y' names no input"),
        ("x-user-id,header:X-User-Id\n", "one input twice"),
        ("x-user-id,x-country\nu1,de\nu2\n", "-:3: 1 cells, the head has 2"),
        ('x-user-id\n"u1\n', "-:2: unexpected end"),
        ("x-user-id,claim:a.b\nu1,[1\n", "-:2: '[1' is not a JSON list"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused_with_its_line(run, text, said):
    error = run("--units", "-", stdin=text).exception
    assert said in str(error)
    assert error.remedy


def test_a_file_that_is_not_there_is_a_wrong_command_line(run):
    result = run("--units", "none.csv")
    assert (result.exit_code, "none.csv" in result.stderr) == (2, True)
