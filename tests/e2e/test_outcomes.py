"""What a real Envoy says became of requests is what the upstreams saw, to the request.

The witnesses are the upstreams' own logs; the rows are those on the controller's disk.
"""

import asyncio
import contextlib
from collections import Counter

import aiohttp
import pytest

from bench.lab.process import LabError, wait_until
from bench.lab.stack import Plan, Stack
from sidecar.analysis import cells
from sidecar.store import Outcomes

CLUSTERS = {"stable": "chat-model-stable", "canary": "chat-model-canary"}
USERS = [f"u{number}" for number in range(120)]
FAILS = 30


@contextlib.contextmanager
def running(engine, **plan):
    stack = Stack(Plan(name="outcomes", apart=True, env={"CANARY_ENGINE": engine}, **plan))
    with stack:
        yield stack
    stack.remove()


NEIGHBOUR = """
apiVersion: canary.dev/v1
kind: Rollout
metadata: {name: neighbour}
spec:
  match: {hosts: [elsewhere.example.com]}
  unit: [{header: x-user-id}]
  variants: [{name: stable, weight: 95}, {name: canary, weight: 5}]
"""


async def traffic(url, users, fails=0):
    """A request of each user; which fails as often as that."""
    async with aiohttp.ClientSession() as session:

        async def get(user):
            headers = {"x-user-id": user, "x-request-key": user, "x-fail-times": str(fails)}
            async with session.get(f"{url}/{fails}", headers=headers) as answer:
                return answer.status

        return Counter(await asyncio.gather(*map(get, users)))


def edit_neighbour(stack):
    """Another rollout comes, so there is another table for all."""
    before = stack.canary("status").output
    (stack.work / "rollouts" / "neighbour.yaml").write_text(NEIGHBOUR)

    def there():
        said = stack.canary("status").output
        return said.count("neighbour") > before.count("neighbour") and "behind" not in said

    wait_until("the neighbour's table", there, alive=list(stack.children.values()))
    for weight in (50, 7):
        stack.canary("weights", "neighbour", f"canary={weight}")


def rows_of(stack, rollout="chat-model"):
    """Everything on the controller's disk, once it has ended."""
    stack.children["controller"].stop()
    store = Outcomes(stack.work / "state" / "controller.outcomes.sqlite")
    rows = store.seconds(rollout, 0, 1 << 40)
    store.close()
    by_variant = {variant: {} for variant in CLUSTERS}
    for row in rows:
        summed = cells.add(by_variant[row.variant], cells.unpack(row.counts))
        by_variant[row.variant] = summed
    return by_variant, {row.version for row in rows}


@pytest.mark.parametrize("engine", ["native", "grpcio"])
def test_rows_count_what_the_upstreams_saw(engine):
    with running(engine) as stack:
        stack.canary("weights", "chat-model", "canary=50")
        statuses = asyncio.run(traffic(stack.envoy.url, USERS))
        edit_neighbour(stack)
        statuses += asyncio.run(traffic(stack.envoy.url, USERS))
        statuses += asyncio.run(traffic(stack.envoy.url, USERS[:FAILS], 1000))
        assert statuses == {200: 2 * len(USERS), 503: FAILS}
        seen = {cluster: list(reader.new()) for cluster, reader in stack.logs.items()}
        settle(stack, sum(statuses.values()))
        rows, versions = rows_of(stack)
    # The neighbour's tables began no rows, and made nobody another unit.
    assert len(versions) == 1
    for variant, cluster in CLUSTERS.items():
        row, requests = rows[variant], seen[cluster]
        failed = [one for one in requests if one.path == "/1000"]
        assert row[cells.STARTED] == row[cells.COMPLETED] == len(requests)
        assert row[cells.ERRORS] == row[cells.HTTP_CLASS + 5] == len(failed)
        assert row[cells.HTTP_CLASS + 2] == len(requests) - len(failed)
        assert row[cells.UNITS] == len({one.user for one in requests})
        assert row[cells.UNIT_ERRORS] == len({one.user for one in failed})
        assert sum(cells.histogram(row)) == len(requests)
        assert sum(cells.histogram(row, cells.UNIT_DURATION)) == row[cells.UNITS]


def settle(stack, requests):
    """Wait until the sidecar was told of every request, and told it on."""

    def told():
        said = " ".join(stack.canary("status").output.split())
        return f"outcomes_taken {requests}," in said and "outcomes_waiting" not in said

    wait_until("every outcome is told", told, alive=[stack.children["sidecar"]])


LIMITED = """
apiVersion: canary.dev/v1
kind: Rollout
metadata: {name: chat-model}
spec:
  unit: [{header: x-user-id}]
  variants: [{name: stable, weight: 100}, {name: canary, weight: 0}]
  steps: [{weight: 50, hold: 30m}, {weight: 100}]
  guardrails: [{metric: error_rate, limit: 20%}]
"""


async def variant_of(url, user, fails=0):
    headers = {"x-user-id": user, "x-request-key": user, "x-fail-times": str(fails)}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.headers["x-answered-by"]


def ask(stack, user, fails=0):
    return asyncio.run(variant_of(stack.envoy.url, user, fails))


def test_a_sidecar_cut_off_takes_a_failing_canary_out_and_the_controller_rolls_it_back(tmp_path):
    (tmp_path / "chat-model.yaml").write_text(LIMITED)
    with running("native", rollouts=tmp_path) as stack:
        wait_until("the first step", lambda: "canary" in {ask(stack, user) for user in USERS[:9]})
        insider = next(user for user in USERS if ask(stack, user) == "canary")
        stack.children["controller"].stop()

        def out():
            return {ask(stack, insider, 10**6) for _ in range(10)} == {"stable"}

        wait_until("the sidecar took it out by itself", out)
        stack.start("controller", *stack.plan.canary, "controller", str(stack.work / "rollouts"))

        def told():
            with contextlib.suppress(LabError):
                return "RolledBack" in stack.canary("history", "chat-model").output

        wait_until("the controller heard of it", told, alive=[stack.children["controller"]])
        said = stack.canary("history", "chat-model").output
        assert "sidecar" in said
        assert "the hard limit is 20.0%" in " ".join(said.split())
        wait_until("both agree", lambda: "canary 0 %" in stack.canary("status").output)
        assert ask(stack, insider) == "stable"
