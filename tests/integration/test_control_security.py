"""Real ends over TLS: whoever cannot prove who they are gets nothing, and is told why."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest
from control_lab import Controller, Sidecar, document, short_dir, until
from security_lab import ANN, CLIENT_AUTH, CONTROLLER, SERVER_AUTH, WEB, Authority, put

from sidecar import config
from sidecar.control import calls, envelopes, wire
from sidecar.control.certificates import CertificateError
from sidecar.errors import CanaryError

NEAR = "127.0.0.1:0"
SIDECARS, OPERATORS = "s" * 32, "o" * 32


@pytest.fixture
def root():
    with short_dir() as path:
        yield path


class Town:
    """One authority, a controller's files, and a sidecar's: flags by who uses them."""

    def __init__(self, root) -> None:
        self.root = root
        self.address = "127.0.0.1:0"
        self.authority = Authority()
        self.stranger = Authority("stranger")
        ca = put(root / "ca.crt", self.authority.pem)
        mine = self.authority.signs(CONTROLLER, usage=SERVER_AUTH)
        self.serving = {**mine.put(root, "controller"), "tls_client_ca": ca}
        self.knowing = {"tls_ca": ca, "control_name": CONTROLLER}
        web = self.authority.signs(WEB, usage=CLIENT_AUTH)
        self.dialling = {**self.knowing, **web.put(root, "web")}

    def shows(self, pair):
        return {**self.knowing, **pair.put(self.root, "shown")}

    @asynccontextmanager
    async def controller(self, **more):
        security = config.security(**{**self.serving, **more})
        controller = Controller(self.root, self.address, security)
        controller.write("chat.yaml", document())
        async with controller.running():
            yield controller


@pytest.fixture
def town(root):
    return Town(root)


async def asked(controller, given):
    """What `canary status` would get."""
    ask = calls.controller_status
    return await asyncio.to_thread(ask, controller.address, config.security(**given))


async def changed(controller, given):
    """What `canary weights chat canary=50` would get."""
    security = config.security(**given)
    return await asyncio.to_thread(
        calls.set_weights, controller.address, "chat", {"canary": 50}, security=security
    )


async def refusal(controller, given) -> str:
    """What `canary status` would say, and a sidecar's status: the same."""
    with pytest.raises(CanaryError) as refused:
        await asked(controller, given)
    security = config.security(**given)
    sidecar = Sidecar(controller.address, controller.folder / "kept", security=security)
    async with sidecar.following():
        await until(lambda: sidecar.client.link.last_error)
        assert not sidecar.client.link.connected
        assert not sidecar.tables
        assert not controller.server.sidecars
    said = str(refused.value).partition("\n")[0].rpartition(": ")[2]
    assert said in sidecar.client.link.last_error
    assert refused.value.remedy or "remedy: " in str(refused.value)
    return str(refused.value)


def test_mutual_tls_lets_a_sidecar_follow_by_its_name(town):
    async def dialogue():
        async with town.controller() as controller:
            security = config.security(**town.dialling)
            sidecar = Sidecar(controller.address, town.root / "kept", security=security)
            async with sidecar.following():
                await until(lambda: sidecar.tables)
                await controller.set(canary=50)
                await until(lambda: sidecar.shares() == {"stable": 1, "canary": 1}, "the change")
                [connected] = (await asked(controller, town.dialling)).sidecars
                assert (connected.node, connected.identity) == ("edge", WEB)

    asyncio.run(dialogue())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda town: {"tls_ca": put(town.root / "x", town.stranger.pem)}, "not signed by the CA"),
        (lambda _: {"control_name": "other.test"}, "for another name"),
        (lambda _: {"control_name": None}, "for another name"),
        (lambda _: {"tls_cert": None, "tls_key": None}, "refuses our certificate, or wants one"),
        (lambda town: town.shows(town.stranger.signs(WEB)), "refuses our certificate"),
        (lambda town: town.shows(town.authority.signs(WEB, days=(-2, -1))), "expired on"),
        (lambda _: {"tls_ca": None, "tls_cert": None, "tls_key": None}, "hangs up on plaintext"),
    ],
    ids=["wrong CA", "wrong name", "no name", "none", "stranger", "expired", "plaintext"],
)
def test_who_cannot_prove_it_gets_nothing_and_is_told_why(town, change, said):
    async def dialogue():
        async with town.controller() as controller:
            assert said in await refusal(controller, {**town.dialling, **change(town)})
            assert await asked(controller, town.dialling)

    asyncio.run(dialogue())


@pytest.mark.parametrize("usage", [SERVER_AUTH, CLIENT_AUTH])
def test_an_expired_certificate_that_a_client_shows_all_the_same_is_refused(town, usage):
    async def dialogue():
        bad = town.authority.signs(WEB, days=(-2, -1), usage=CLIENT_AUTH)
        if usage is SERVER_AUTH:
            bad = town.authority.signs(WEB, usage=SERVER_AUTH)
        credentials = grpc.ssl_channel_credentials(town.authority.pem, bad.key, bad.cert)
        options = [*wire.CLIENT_OPTIONS, ("grpc.ssl_target_name_override", CONTROLLER)]
        async with (
            town.controller() as controller,
            grpc.aio.secure_channel(controller.address, credentials, options) as channel,
        ):
            stream = channel.stream_stream(envelopes.METHOD)()
            assert await stream.code() is grpc.StatusCode.UNAVAILABLE
            assert not controller.server.sidecars

    asyncio.run(dialogue())


def test_a_controller_whose_certificate_has_expired_is_not_believed(town):
    async def dialogue():
        bad = town.authority.signs(CONTROLLER, days=(-2, -1))
        server = grpc.aio.server()
        credentials = grpc.ssl_server_credentials([(bad.key, bad.cert)])
        port = server.add_secure_port(NEAR, credentials)
        await server.start()
        with pytest.raises(CanaryError, match="its certificate has expired") as refused:
            await asyncio.to_thread(
                calls.controller_status, f"127.0.0.1:{port}", config.security(**town.knowing)
            )
        assert "renew" in refused.value.remedy
        await server.stop(0)

    asyncio.run(dialogue())


def test_a_controller_that_speaks_plaintext_where_tls_is_expected_is_named(town):
    async def dialogue():
        controller = Controller(town.root, NEAR)
        async with controller.running():
            assert "does not speak TLS" in await refusal(controller, town.dialling)

    asyncio.run(dialogue())


@pytest.mark.parametrize("days", [(-2, -1), (1, 2)])
def test_a_controller_with_a_certificate_out_of_date_does_not_start(town, days):
    async def dialogue():
        town.serving |= town.authority.signs(CONTROLLER, days=days).put(town.root, "controller")
        with pytest.raises(CertificateError, match=r"controller\.crt (expired|is not valid)"):
            async with town.controller():
                pass

    asyncio.run(dialogue())


def test_a_sidecars_certificate_changes_no_weights_and_an_operators_does(town):
    async def dialogue():
        async with town.controller(allow_operator=[ANN]) as controller:
            with pytest.raises(CanaryError, match=f"{WEB} may follow, but not change") as refused:
                await changed(controller, town.dialling)
            assert "--allow-operator" in str(refused.value)
            assert controller.keeper.states["chat"].revision == 1
            await changed(controller, town.shows(town.authority.signs(ANN)))
            assert controller.keeper.last_events["chat"].origin.who == ANN

    asyncio.run(dialogue())


def test_who_is_recorded_by_the_certificate_whatever_the_caller_says(town):
    async def dialogue():
        pair = town.authority.signs(ANN)
        credentials = grpc.ssl_channel_credentials(town.authority.pem, pair.key, pair.cert)
        options = [*wire.CLIENT_OPTIONS, ("grpc.ssl_target_name_override", CONTROLLER)]
        request = calls.pb.SetWeightsRequest(
            rollout="chat", who="root", weights=[calls.pb.Weight(variant="canary", weight="50")]
        )
        async with (
            town.controller(allow_operator=[ANN]) as controller,
            grpc.aio.secure_channel(controller.address, credentials, options) as channel,
        ):
            call = channel.unary_unary(f"/{wire.ROLLOUT_SERVICE}/SetWeights")
            reply = calls.pb.SetWeightsResponse.FromString(await call(request.SerializeToString()))
            assert reply.rollout.last_event.who == ANN
            assert controller.keeper.last_events["chat"].origin.who == ANN

    asyncio.run(dialogue())


def test_a_connection_that_stays_is_cut_so_that_a_dropped_authority_counts(town):
    async def dialogue():
        pair = town.authority.signs(WEB)
        credentials = grpc.ssl_channel_credentials(town.authority.pem, pair.key, pair.cert)
        options = [*wire.CLIENT_OPTIONS, ("grpc.ssl_target_name_override", CONTROLLER)]
        async with (
            town.controller(max_connection_age=0.5) as controller,
            grpc.aio.secure_channel(controller.address, credentials, options) as channel,
        ):
            codes = []

            async def again():
                codes.append(await channel.stream_stream(envelopes.METHOD)().code())

            await again()
            put(town.root / "ca.crt", town.stranger.pem)
            async with asyncio.timeout(20):
                while codes[-1] is grpc.StatusCode.OK:
                    await again()
            assert codes[:1] == [grpc.StatusCode.OK]
            assert codes[-1] is grpc.StatusCode.UNAVAILABLE

    asyncio.run(dialogue())


@pytest.mark.parametrize("tls", [True, False])
def test_tokens_are_asked_for_and_say_what_may_be_done(town, tls):
    async def dialogue():
        tokens = {"token_file": put(town.root / "tokens", SIDECARS.encode())}
        both = {**tokens, "operator_token_file": put(town.root / "ops", OPERATORS.encode())}
        serving = both if tls else {**both, "tls_cert": None, "tls_key": None}
        knowing = town.knowing if tls else {}
        async with town.controller(tls_client_ca=None, **serving) as controller:
            wrong = {"token_file": put(town.root / "wrong", b"w" * 32)}
            assert "no token was shown" in await refusal(controller, knowing)
            said = await refusal(controller, {**knowing, **wrong})
            assert "not one of this controller's" in said
            assert "w" * 32 not in said
            assert (await asked(controller, {**knowing, **tokens})).version
            with pytest.raises(CanaryError, match="may follow, but not change weights"):
                await changed(controller, {**knowing, **tokens})
            await changed(controller, {**knowing, "token_file": town.root / "ops"})
            assert controller.keeper.last_events["chat"].origin.who.endswith(" (operator token)")

    asyncio.run(dialogue())


def test_what_a_sidecar_has_stays_while_its_certificate_is_refused(town):
    async def dialogue():
        security = config.security(**town.dialling)
        async with town.controller() as controller:
            town.address = controller.address
            sidecar = Sidecar(town.address, town.root / "kept", security=security)
            async with sidecar.following():
                await until(lambda: sidecar.tables)
        town.stranger.signs(WEB).put(town.root, "web")
        again = Sidecar(town.address, town.root / "kept", security=security)
        assert await again.client.start_from_disk()
        assert again.version == sidecar.version
        async with town.controller(), again.following():
            await until(lambda: "refuses our certificate" in again.client.link.last_error)
            assert again.version == sidecar.version
            town.authority.signs(WEB).put(town.root, "web")
            await until(lambda: again.client.link.connected, "the mended certificate counts")

    asyncio.run(dialogue())
