"""The HTTP API over real sockets: what it tells, what it changes, whom it lets in."""

import asyncio
import ssl
from contextlib import asynccontextmanager

import aiohttp
import pytest
from control_lab import Controller, short_dir
from launch_lab import text
from security_lab import ANN, CLIENT_AUTH, CONTROLLER, SERVER_AUTH, WEB, Authority, put

from sidecar import config, web
from sidecar.config import NO_SECURITY
from sidecar.control import services
from sidecar.control.doors import Door
from sidecar.control.trips import Trip

NEAR = "127.0.0.1:0"
JSON = {"Content-Type": "application/json"}
GATED = "[{weight: 5, hold: 1h}, {weight: 100, approval: true}]"


@pytest.fixture
def root():
    with short_dir() as path:
        yield path


@asynccontextmanager
async def serving(root, security=NO_SECURITY, address=NEAR):
    """A controller with one launch in its first step, and its API at an address."""
    controller = Controller(root)
    controller.write("chat.yaml", text("chat", GATED))
    async with controller.running():
        await controller.tick()
        door = Door(address, security)
        access = web.Access(door.recognise, door.guarded, services.http_status)
        api = web.application(controller.keeper, controller.history, access)
        server = web.Server(api, address, door.tls())
        await server.start()
        controller.keeper.trips = {
            "n1": [Trip("n1", "chat", "canary", 2, 1_800_000_000_123, "9 of 9 requests failed")],
            "n2": [Trip("n2", "shop", "canary", 1, 0, "another rollout's")],
        }
        try:
            yield server.address
        finally:
            await server.stop()


def asking(root, asked, security=NO_SECURITY, **client):
    """Run `asked(request)`; `request` gives status and JSON of one call."""

    async def scenario():
        async with serving(root, security) as address, aiohttp.ClientSession() as session:
            scheme = "https" if security.cert else "http"

            async def request(method, path, **more):
                async with session.request(
                    method, f"{scheme}://{address}{path}", **{**client, **more}
                ) as answer:
                    return answer.status, await answer.json()

            return await asked(request)

    return asyncio.run(scenario())


def test_it_tells_how_a_launch_stands_and_what_happened(root):
    async def asked(request):
        assert await request("GET", "/healthz") == (200, {"status": "ok"})
        _, listed = await request("GET", "/v1/rollouts")
        status, one = await request("GET", "/v1/rollouts/chat")
        _, history = await request("GET", "/v1/rollouts/chat/history?newest=1")
        return status, listed, one, history

    status, listed, one, history = asking(root, asked)
    assert status == 200
    assert listed["rollouts"] == [one]
    assert one["inForce"] == {"stable": "95", "canary": "5"}
    launch = one["launch"]
    assert (launch["phase"], launch["step"], launch["steps"]) == ("Running", 1, 2)
    assert [wait["kind"] for wait in launch["waitsFor"]] == ["hold", "approval"]
    assert one["heldOut"] == [
        {
            "node": "n1",
            "variant": "canary",
            "reason": "9 of 9 requests failed",
            "at": "2027-01-15T08:00:00.123Z",
        }
    ]
    [event] = history["events"]
    assert (event["kind"], event["revision"], event["who"]) == ("StepBegun", 2, "controller")
    assert (event["phase"], event["step"], event["evidence"]) == ("Running", 1, None)


def test_commands_and_weights_are_recorded_with_who_and_why(root):
    async def asked(request):
        said = {"who": "pipeline 7", "why": "tests are red"}
        status, paused = await request("POST", "/v1/rollouts/chat/pause", json=said)
        assert (status, paused["changed"]) == (200, True)
        _, again = await request("POST", "/v1/rollouts/chat/pause", json={})
        assert again["changed"] is False
        body = {"weights": {"canary": "12.5"}, "expectedRevision": 3}
        _, moved = await request("PUT", "/v1/rollouts/chat/weights", json=body)
        assert moved["rollout"]["inForce"]["canary"] == "12.5"
        _, out = await request("POST", "/v1/rollouts/chat/rollback", json={})
        assert out["rollout"]["launch"]["phase"] == "RolledBack"
        return (await request("GET", "/v1/rollouts/chat/history"))[1]["events"]

    events = asking(root, asked)
    assert [(one["kind"], one["who"], one["why"]) for one in events[2:]] == [
        ("RolloutPaused", "pipeline 7", "tests are red"),
        ("WeightsSet", "http", ""),
        ("RolloutRolledBack", "http", ""),
    ]


REFUSALS = [
    ("GET", "/v1/rollouts/chaat", {}, 404, "there is no rollout 'chaat'", "did you mean chat?"),
    ("GET", "/v1/nothing", {}, 404, "Not Found", "docs/delivery.md"),
    ("DELETE", "/v1/rollouts/chat", {}, 405, "Method Not Allowed", "docs/delivery.md"),
    ("GET", "/v1/rollouts/chat/history?newest=-1", {}, 400, "is not a count", "newest=20"),
    ("POST", "/v1/rollouts/chat/launch", {"json": {}}, 409, "under way", "canary abort"),
    ("POST", "/v1/rollouts/chat/pause", {"json": {"expectedRevision": 1}}, 409,
     "revision 2, not 1", "canary status"),
    ("POST", "/v1/rollouts/chat/pause", {"json": {"expectedRevision": "x"}}, 400,
     "not a whole number", "revision"),
    ("POST", "/v1/rollouts/chat/pause", {"data": {"why": "form"}}, 415,
     "not application/json", "Content-Type"),
    ("POST", "/v1/rollouts/chat/pause", {"data": b"{", "headers": JSON}, 400,
     "is not JSON", "JSON object"),
    ("POST", "/v1/rollouts/chat/pause", {"data": b"[" * 60_000, "headers": JSON}, 400,
     "is not JSON", "JSON object"),
    ("POST", "/v1/rollouts/chat/pause", {"json": []}, 400, "not a JSON object", "why"),
    ("POST", "/v1/rollouts/chat/pause", {"json": {"reason": "x"}}, 400,
     "'reason' is not a field here", "why"),
    ("POST", "/v1/rollouts/chat/pause", {"data": b" " * 70_000, "headers": JSON}, 413,
     "Too Large", "docs"),
    ("PUT", "/v1/rollouts/chat/weights", {"json": {"weights": {"canary": "NaN"}}}, 400,
     "not a number from 0", "12.5"),
    ("PUT", "/v1/rollouts/chat/weights", {"json": {"weights": {"canary": "1e308"}}}, 400,
     "not a number from 0", "12.5"),
    ("PUT", "/v1/rollouts/chat/weights", {"json": {"weights": {"canary": [5]}}}, 400,
     "the weight of 'canary' is not a number", "12.5"),
    ("PUT", "/v1/rollouts/chat/weights", {"json": {"weights": {"canry": "5"}}}, 404,
     "no variant 'canry'", "did you mean canary?"),
    ("GET", "/v1/rollouts", {"headers": {"Host": "evil.example.com"}}, 421,
     "not a name of this controller", "localhost"),
]  # fmt: skip


def test_what_cannot_be_is_refused_with_a_remedy_and_changes_nothing(root):
    async def asked(request):
        before = await request("GET", "/v1/rollouts/chat")
        for method, path, more, status, message, remedy in REFUSALS:
            got, answer = await request(method, path, **more)
            assert got == status, (path, more, answer)
            assert message in answer["error"], (path, answer)
            assert remedy in answer["remedy"], (path, answer)
        after = await request("GET", "/v1/rollouts/chat")
        assert after[1]["revision"] == before[1]["revision"]

    asking(root, asked)


def test_with_certificates_only_named_operators_change_and_their_name_is_recorded(root):
    authority = Authority()
    ca = put(root / "ca.crt", authority.pem)
    mine = authority.signs(CONTROLLER, "127.0.0.1", usage=SERVER_AUTH).put(root, "controller")
    security = config.security(**mine, tls_client_ca=ca, allow_operator=[ANN])

    def shows(name):
        pair = authority.signs(name, usage=CLIENT_AUTH).put(root, "shown")
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(pair["tls_cert"], pair["tls_key"])
        return context

    async def asked(request):
        status, answer = await request("POST", "/v1/rollouts/chat/pause", json={}, ssl=shows(WEB))
        assert (status, "may follow, but not change" in answer["error"]) == (403, True)
        assert (await request("GET", "/v1/rollouts/chat", ssl=shows(WEB)))[0] == 200
        body = {"who": "somebody else"}
        status, _ = await request("POST", "/v1/rollouts/chat/pause", json=body, ssl=shows(ANN))
        assert status == 200
        with pytest.raises(aiohttp.ClientError):
            await request("GET", "/v1/rollouts", ssl=ssl.create_default_context(cafile=ca))
        return (await request("GET", "/v1/rollouts/chat/history?newest=1", ssl=shows(WEB)))[1]

    [event] = asking(root, asked, security)["events"]
    assert (event["kind"], event["who"]) == ("RolloutPaused", ANN)


def test_with_tokens_reading_and_changing_are_two_rights(root):
    (root / "read").write_text("r" * 32 + "\n")
    (root / "write").write_text("w" * 32 + "\n")
    for file in ("read", "write"):
        (root / file).chmod(0o600)
    security = config.security(
        token_file=str(root / "read"), operator_token_file=str(root / "write")
    )

    def bearer(token):
        return {"Authorization": f"Bearer {token}"}

    async def asked(request):
        for headers in ({}, bearer("x" * 32)):
            status, answer = await request("GET", "/v1/rollouts", headers=headers)
            assert (status, bool(answer["remedy"])) == (401, True)
        reader, writer = bearer("r" * 32), bearer("w" * 32)
        assert (await request("GET", "/v1/rollouts", headers=reader))[0] == 200
        path = "/v1/rollouts/chat/pause"
        assert (await request("POST", path, json={}, headers=reader))[0] == 403
        assert (await request("POST", path, json={"who": "ci"}, headers=writer))[0] == 200
        assert (await request("GET", "/healthz"))[0] == 200
        return (await request("GET", "/v1/rollouts/chat/history?newest=1", headers=reader))[1]

    [event] = asking(root, asked, security)["events"]
    assert event["who"] == "ci (operator token)"


def test_a_new_certificate_is_shown_without_a_restart(root):
    authority = Authority()
    ca = put(root / "ca.crt", authority.pem)
    names = (CONTROLLER, "127.0.0.1")
    mine = authority.signs(*names, usage=SERVER_AUTH).put(root, "controller")
    (root / "read").write_text("r" * 32 + "\n")
    (root / "read").chmod(0o600)
    security = config.security(**mine, token_file=str(root / "read"))
    trusting = ssl.create_default_context(cafile=ca)

    async def scenario():
        async with serving(root, security) as address:

            async def shown():
                port = int(address.rpartition(":")[2])
                _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
                serial = writer.get_extra_info("peercert")["serialNumber"]
                writer.close()
                return serial

            first = await shown()
            assert await shown() == first
            authority.signs(*names, usage=SERVER_AUTH).put(root, "controller")
            assert await shown() != first

    asyncio.run(scenario())
