"""`canary which` and the real Envoy agree: who speaks, and who answers, on random requests."""

import asyncio
import json
import random

import aiohttp
import pytest
import yaml
from click.testing import CliRunner
from yarl import URL

from bench.lab.stack import Plan, Stack
from sidecar.cli import canary
from sidecar.control import calls
from sidecar.routing import twin
from sidecar.routing.explaining import explain

REQUESTS = 1000
CONNECTIONS = 50
SAMPLE = 20
# Any seed will do; a failure is repeated by putting its own here.
SEED = random.SystemRandom().randrange(1 << 32)


def document(name, match, unit, *weights):
    variants = [{"name": f"v{i}", "weight": weight} for i, weight in enumerate(weights)]
    spec = {"match": match, "unit": unit, "variants": variants}
    kind = {"apiVersion": "canary.dev/v1", "kind": "Rollout"}
    return {**kind, "metadata": {"name": name}, "spec": spec}


USER, SESSION, QUERY = {"header": "x-user-id"}, {"cookie": "sid"}, {"query": "u"}
DOCUMENTS = [
    document("everywhere", {}, [USER, SESSION], 50, 50),
    document("chat", {"hosts": ["chat.example.com"]}, [USER], 40, 10, 10, 20, 20),
    document("wild", {"hosts": ["*.example.com"], "pathPrefix": "/v1"}, [SESSION, QUERY], 1, 2, 0),
    document(
        "address", {"pathPrefix": "/v1/a"}, [{"header": "x-no"}, {"clientAddress": True}], 1, 1
    ),
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rollouts")
    (folder / "all.yaml").write_text(yaml.safe_dump_all(DOCUMENTS))
    running = Stack(Plan(rollouts=folder, name="which"))
    with running:
        running.canary("weights", "everywhere", "v1=25", "--reason", "not as declared")
        yield running
    running.remove()


def made_up(number, rng):
    """A request, with a path of its own by which the upstreams' logs name it."""
    path = rng.choice(["/", "/v1/", "/v1/a/", "/v10/", "/v1/a/b/"]) + f"r{number}"
    query = rng.choice(["", "", f"?u={rng.randrange(50)}", "?x=1&u=", f"?u=&u=q{number}"])
    hosts = ["chat.example.com", "CHAT.example.com:80", "a.b.example.com", "example.com", "x.org"]
    headers = {"host": rng.choice(hosts)}
    if user := rng.choice(["", f"user-{rng.randrange(100)}", "Ünï 7", f"{number}"]):
        headers["x-user-id"] = user
    if cookie := rng.choice(["", f"sid={rng.randrange(50)}", f"a=b; sid=; sid=s{number};c"]):
        headers["cookie"] = cookie
    return path + query, headers


def sent(url, requests):
    """Send them all, a few at a time; return the variant that answered each."""

    async def send():
        connector = aiohttp.TCPConnector(limit=CONNECTIONS)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def one(path, headers):
                async with session.get(URL(url + path, encoded=True), headers=headers) as answer:
                    assert answer.status == 200
                    return answer.headers["x-answered-by"]

            return await asyncio.gather(*(one(*request) for request in requests))

    return asyncio.run(send())


def as_decided_upon(path, headers):
    named = {":authority" if name == "host" else name: text for name, text in headers.items()}
    encoded = [(name, text.encode()) for name, text in [(":path", path), *named.items()]]
    return twin.Request(encoded, b"127.0.0.1:4711")


def test_a_thousand_random_requests_are_answered_as_explained(stack):
    requests = [made_up(number, random.Random(SEED + number)) for number in range(REQUESTS)]
    routes = calls.sidecar_resources(f"unix://{stack.work}/run/sidecar.sock").routes
    answered = sent(stack.envoy.url, requests)
    seen = {
        one.path: (cluster, one.canary) for cluster, log in stack.logs.items() for one in log.new()
    }
    outcomes = set()
    for (path, headers), variant in zip(requests, answered, strict=True):
        decisions = [
            one.decision for one in explain(routes, as_decided_upon(path, headers)) if one.decision
        ]
        cluster, carried = seen[path]
        expected = {f"x-canary-{one.rollout}": one.variant for one in decisions}
        assert carried == expected, (SEED, path, headers)
        assert cluster.endswith(f"-{variant}")
        assert expected[f"x-canary-{cluster.removesuffix(f'-{variant}')}"] == variant
        outcomes |= {(one.rollout, one.variant, one.reason) for one in decisions}
    assert stack.envoy.stats().ext_proc("failure_mode_allowed") == 0
    # It was a test of something: every rollout spoke, most variants were met, some had no unit.
    assert {rollout for rollout, _, _ in outcomes} == {route.name for route in routes}
    assert ("chat", "v4", "weight") in outcomes
    assert ("wild", "v0", "no_unit") in outcomes
    assert not any(outcome[:2] == ("wild", "v2") for outcome in outcomes)


def test_the_command_itself_says_what_envoy_does(stack):
    rng = random.Random(SEED)
    numbers = range(REQUESTS, REQUESTS + SAMPLE)
    requests = [made_up(number, rng) for number in numbers]
    sent(stack.envoy.url, requests)
    seen = {one.path: one.canary for log in stack.logs.values() for one in log.new()}
    for path, headers in requests:
        words = [f"--header={name}={text}" for name, text in headers.items()]
        words += ["--path", path, "--client-address", "127.0.0.1", "--json"]
        run = ["which", "everywhere", *words, "--run-dir", str(stack.work / "run")]
        result = CliRunner().invoke(canary, run)
        assert result.exit_code == 0, result.output
        said = json.loads(result.output)
        assert said["headers"] == seen[path], (SEED, path, headers)
        assert said["variant"] == seen[path]["x-canary-everywhere"]
        assert said["metadata"]["canary"]["everywhere"]["reason"] == said["reason"]
    # The weights in force, not those in the file.
    assert [variant["percent"] for variant in said["variants"]] == [75.0, 25.0]
