"""`canary which` over rules, and requests that were pasted: curl commands and HAR entries."""

import json
import time

import pytest
import yaml
from click.testing import CliRunner

from sidecar.cli import canary, pasted
from sidecar.cli.pasted import PastedError
from sidecar.routing.force import Key, sign

JWT = "envoy.filters.http.jwt_authn"
SECRET = "s" * 32
SPEC = {
    "unit": [{"header": "x-user-id"}],
    "variants": [{"name": "stable", "weight": 95}, {"name": "canary", "weight": 5}],
    "exclude": ["big"],
    "requires": [{"rollout": "api", "variants": ["v2"]}],
    "overrides": [{"variant": "canary", "units": ["u42"]}],
    "segments": [
        {
            "name": "staff",
            "when": [{"metadata": {"filter": JWT, "path": ["payload", "email"]}, "suffix": "@a.b"}],
            "variant": "canary",
        },
        {
            "name": "posts",
            "when": [
                {"method": True, "exact": "POST"},
                {"not": {"anyOf": [{"header": "x-app", "semver": {"below": "2.0.0"}}]}},
            ],
            "weights": {"canary": 100},
        },
    ],
}
API = {
    "unit": [{"header": "x-user-id"}],
    "variants": [{"name": "v1", "weight": 0}, {"name": "v2", "weight": 1}],
    "exclude": ["old"],
}


@pytest.fixture
def told(tmp_path):
    documents = [
        {"apiVersion": "canary.dev/v1", "kind": "Rollout", "metadata": {"name": n}, "spec": spec}
        for n, spec in (("shop", SPEC), ("api", API))
    ]
    (tmp_path / "shop.yaml").write_text(yaml.safe_dump_all(documents))
    (tmp_path / "keys").write_text(f"qa {SECRET}\n")

    def told(*words, stdin=None, as_json=True):
        run = ["which", "shop", "--file", str(tmp_path / "shop.yaml"), *words]
        run += ["--json"] * as_json
        result = CliRunner().invoke(canary, run, input=stdin)
        assert result.exit_code == 0, result.output
        return json.loads(result.output) if as_json else result.output

    told.keys = ["--force-keys", str(tmp_path / "keys")]
    return told


def deciding(said):
    first = next(rule for rule in said["rules"] if rule["applies"])
    return first["rule"], first["name"], said["variant"]


def user(name, *more):
    return ["--header", f"x-user-id={name}", *more]


@pytest.mark.parametrize(
    ("words", "decides"),
    [
        (user("big"), ("excluded", "", "stable")),
        (user("old"), ("prerequisite", "api", "stable")),
        (user("u42"), ("override", "canary", "canary")),
        (user("u1", "--input", "claim:payload.email=me@a.b"), ("segment", "staff", "canary")),
        (user("u1", "--method", "POST"), ("segment", "posts", "canary")),
        (user("u1", "--method", "POST", "--header", "x-app=1.9.0"), ("weight", "", "stable")),
        (user("u1"), ("weight", "", "stable")),
    ],
)
def test_the_rule_that_decides_is_the_first_that_applies(told, words, decides):
    assert deciding(told(*words)) == decides


def test_every_rule_is_listed_with_its_conditions_and_what_they_found(told):
    rules = told(*user("u1", "--method", "POST", "--header", "x-app=1.9.0"))["rules"]
    assert [(one["rule"], one["name"]) for one in rules] == [
        ("killed", ""), ("excluded", ""), ("prerequisite", "api"), ("override", ""),
        ("segment", "staff"), ("segment", "posts"), ("weight", ""),
    ]  # fmt: skip
    method, negation = rules[5]["conditions"]
    assert (method["holds"], method["found"]) == (True, ["POST"])
    [semver] = negation["conditions"][0]["conditions"]
    assert (negation["holds"], semver["holds"], semver["found"]) == (False, True, ["1.9.0"])
    assert semver["condition"] == "header x-app semver < 2.0.0"


def test_the_text_marks_the_rule_that_decides_and_what_is_not_reached(told):
    lines = told(*user("u42"), as_json=False).splitlines()
    said = [" ".join(line.split()) for line in lines]
    assert "override decides the unit is listed for canary" in said
    assert "segment staff not reached not all of its conditions hold" in said
    assert "prerequisite no api gives 'v2'" in said


def test_a_force_token_is_judged_by_the_keys(told):
    token = sign(Key("qa", SECRET.encode()), {"shop": "canary"}, int(time.time()) + 60)
    forced = user("u1", "--header", f"canary-force={token}")
    assert deciding(told(*forced, *told.keys)) == ("forced", "canary", "canary")
    ignored = told(*forced)
    assert deciding(ignored) == ("weight", "", "stable")
    assert [r["why"] for r in ignored["rules"] if r["rule"] == "forced"] == [
        "the force token is ignored: unknown_key"
    ]


CURL = r"""curl 'https://shop.example.com:8443/cart?x=1' \
  -H 'X-User-Id: u1' -b 'a=b; c=d' --compressed -sSL --data-raw '{"a": 1}'"""


def test_a_pasted_curl_command_is_the_request(told):
    assert dict(pasted.curl(CURL)) == {
        ":method": b"POST",
        ":authority": b"shop.example.com:8443",
        ":path": b"/cart?x=1",
        "x-user-id": b"u1",
        "cookie": b"a=b; c=d",
    }
    assert deciding(told("--curl", CURL)) == ("segment", "posts", "canary")
    assert deciding(told("--curl", "-", stdin=CURL)) == ("segment", "posts", "canary")
    # What has an option of its own stands above.
    assert deciding(told("--curl", CURL, *user("u42"))) == ("override", "canary", "canary")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("curl a.b", {":method": b"GET", ":authority": b"a.b", ":path": b"/"}),
        ("curl -XPUT a.b/c", {":method": b"PUT", ":path": b"/c"}),
        ("curl -I a.b", {":method": b"HEAD"}),
        ("curl -o /dev/null -m 3 a.b", {":authority": b"a.b"}),
        ("curl --url a.b -H 'Host: c.d'", {":authority": b"c.d"}),
        (
            "curl -u me:pw -A agent a.b",
            {"authorization": b"Basic bWU6cHc=", "user-agent": b"agent"},
        ),
        ("curl -H 'accept:' -H 'x: 1' a.b", {"x": b"1"}),
        ("/usr/bin/curl -Gd q=1 a.b", {":method": b"GET"}),
    ],
)
def test_options_of_curl_mean_what_they_mean_there(command, expected):
    assert dict(pasted.curl(command)).items() >= expected.items()


@pytest.mark.parametrize(
    "command",
    ["", "wget a.b", "curl", "curl 'a.b", "curl a.b c.d", "curl -H @file a.b", "curl -b jar a.b"],
)
def test_what_is_no_request_is_refused(command):
    with pytest.raises(PastedError) as refused:
        pasted.curl(command)
    assert refused.value.remedy


def har(tmp_path, *urls):
    headers = [{"name": "X-User-Id", "value": "u1"}, {"name": "Host", "value": "h"}]
    entries = [{"request": {"method": "POST", "url": url, "headers": headers}} for url in urls]
    path = tmp_path / "recorded.har"
    path.write_text(json.dumps({"log": {"entries": entries}}))
    return str(path)


def test_an_entry_of_a_har_file_is_the_request(told, tmp_path):
    path = har(tmp_path, "https://a.b/c?d", "https://a.b/e")
    assert deciding(told("--har", f"{path}:2")) == ("segment", "posts", "canary")
    assert dict(pasted.har(f"{path}:1")) == {
        ":method": b"POST", ":path": b"/c?d", ":authority": b"h", "x-user-id": b"u1",
    }  # fmt: skip
    assert dict(pasted.har(har(tmp_path, "https://a.b/e")))[":path"] == b"/e"


@pytest.mark.parametrize("which", ["", ":0", ":3"])
def test_an_entry_that_is_not_there_is_refused(tmp_path, which):
    with pytest.raises(PastedError):
        pasted.har(har(tmp_path, "https://a.b/c", "https://a.b/d") + which)


@pytest.mark.parametrize("text", ["[]", "{}", "no", '{"log": {"entries": [{}]}}'])
def test_a_file_that_is_no_har_is_refused(tmp_path, text):
    (tmp_path / "x.har").write_text(text)
    with pytest.raises(PastedError, match="HAR"):
        pasted.har(str(tmp_path / "x.har"))
    with pytest.raises(PastedError):
        pasted.har(str(tmp_path / "none.har"))
