"""Processes on TCP: files change under them, nothing restarts, nothing secret is said."""

import json
import re
import stat

import pytest
from app_lab import House, refused, weights
from control_lab import document, short_dir
from security_lab import ANN, CONTROLLER, WEB, Authority, flags, put, shown

from sidecar import config
from sidecar.control import calls

SIDECARS, OPERATORS, LATER = "s" * 32, "o" * 32, "l" * 64
DB = "spiffe://mesh.test/ns/shop/sa/db"


class Town(House):
    """A house whose controller listens on TCP as well."""

    def __init__(self, root) -> None:
        super().__init__(root)
        self.write()
        self.authority = Authority()
        self.secrets = [SIDECARS, OPERATORS, LATER]
        self.ca = put(root / "ca.crt", self.authority.pem)
        self.client_ca = put(root / "clients.crt", self.authority.pem)
        self.knowing = {"tls_ca": self.ca, "control_name": CONTROLLER}
        self.started = []

    def pair(self, file, *names, authority=None):
        """Put a pair for these names there; its flags."""
        made = (authority or self.authority).signs(*names)
        self.secrets += made.key.decode().splitlines()[1:-1]
        return made.put(self.root, file)

    def controller_on_tcp(self, **given):
        """A controller whose callers prove who they are every second; its address."""
        given |= self.pair("controller", CONTROLLER)
        words = flags(control="127.0.0.1:0", max_connection_age=1, **given)
        child = self.start("controller", self.folder, *words)
        self.started.append(child)
        self.until("it listens", lambda: "controller serving" in child.log.read_text(), child)
        self.address = re.search(r"address=(127\S+)", child.log.read_text())[1]

    def sidecar_on_tcp(self, **given):
        words = flags(control=self.address, **self.knowing, **given)
        child = self.start("sidecar", "--node", "edge", *words)
        self.started.append(child)
        self.until_ready(*self.started)

    def identity(self) -> str:
        return next((one.identity for one in self.controller().sidecars), "")

    def until_known_as(self, name) -> None:
        self.until(f"known as {name}", lambda: self.identity() == name, *self.started)

    def undisturbed(self) -> bool:
        """Whether the sidecar noticed nothing since it began: one connection, one table."""
        status = self.sidecar().control_stream
        log = self.started[1].log.read_text()
        return (
            status.connected
            and log.count("controller connected") == 1
            and log.count("table in force") == 1
        )


@pytest.fixture
def town():
    with short_dir() as root, Town(root) as made:
        yield made


def test_a_rotated_controller_certificate_is_shown_to_the_next_connection(town):
    town.controller_on_tcp(tls_client_ca=town.client_ca)
    town.sidecar_on_tcp(**town.pair("web", WEB))
    looker = town.authority.signs()
    before = (town.root / "controller.crt").read_bytes()
    assert shown(town.address, town.authority.pem, looker, town.root) == before
    town.pair("controller", CONTROLLER)
    after = (town.root / "controller.crt").read_bytes()
    assert shown(town.address, town.authority.pem, looker, town.root) == after != before
    # Half a rotation (a new certificate, the old key) is none.
    put(town.root / "controller.crt", town.authority.signs(CONTROLLER).cert)
    assert shown(town.address, town.authority.pem, looker, town.root) == after
    log = town.started[0].log.read_text()
    assert "do not belong together" in log
    assert "files taken anew" in log
    town.until_known_as(WEB)
    assert town.undisturbed()


def test_a_rotated_sidecar_certificate_is_known_within_the_age_of_a_connection(town):
    town.controller_on_tcp(tls_client_ca=town.client_ca)
    town.sidecar_on_tcp(**town.pair("web", WEB))
    town.until_known_as(WEB)
    town.pair("web", DB)
    town.until_known_as(DB)
    assert town.undisturbed()


def test_an_authority_is_replaced_by_way_of_both(town):
    town.controller_on_tcp(tls_client_ca=town.client_ca)
    town.sidecar_on_tcp(**town.pair("web", WEB))
    old, new = town.authority, Authority("new")
    for file in (town.ca, town.client_ca):
        put(town.root / file, old.pem + new.pem)
    looker = new.signs()
    assert shown(town.address, old.pem, looker, town.root)
    town.pair("controller", CONTROLLER, authority=new)
    town.pair("web", DB, authority=new)
    town.until_known_as(DB)
    for file in (town.ca, town.client_ca):
        put(town.root / file, new.pem)
    assert shown(town.address, new.pem, looker, town.root)
    town.until_known_as(DB)
    assert town.undisturbed()
    security = config.security(**{**town.knowing, **town.pair("late", WEB, authority=old)})
    said = refused(lambda: calls.controller_status(town.address, security))
    assert "refuses our certificate" in said


def test_an_authority_that_is_dropped_keeps_its_sidecars_out(town):
    town.controller_on_tcp(tls_client_ca=town.client_ca)
    town.sidecar_on_tcp(**town.pair("web", WEB))
    before = town.answers()
    put(town.root / town.client_ca, Authority("new").pem)
    town.until("it is out", lambda: not town.sidecar().control_stream.connected, *town.started)
    assert "refuses our certificate" in town.sidecar().control_stream.last_error
    assert not town.controller().sidecars
    assert town.answers() == before
    # What gRPC itself would write about each handshake is in no log's format.
    assert all("ssl_transport" not in child.log.read_text() for child in town.started)


def test_a_token_is_rotated_without_a_gap_and_taken_away_within_the_age_of_a_connection(town):
    theirs = put(town.root / "theirs", SIDECARS.encode())
    ours = put(town.root / "ours", SIDECARS.encode())
    town.controller_on_tcp(token_file=theirs)
    town.sidecar_on_tcp(token_file=ours)
    before = town.answers()
    put(town.root / theirs, f"{LATER}\n{SIDECARS}".encode())
    put(town.root / ours, LATER.encode())
    put(town.root / theirs, LATER.encode())
    security = config.security(**town.knowing, token_file=put(town.root / "t", SIDECARS.encode()))
    said = refused(lambda: calls.controller_status(town.address, security))
    assert "not one of this controller's" in said
    ends = town.started[0].log.read_text().count("sidecar disconnected")

    def renewed() -> bool:
        return town.started[0].log.read_text().count("sidecar disconnected") > ends + 1

    town.until("it came back with the new one", renewed, *town.started)
    assert town.undisturbed()
    put(town.root / theirs, OPERATORS.encode())
    town.until("it is out", lambda: not town.sidecar().control_stream.connected, *town.started)
    assert "UNAUTHENTICATED" in town.sidecar().control_stream.last_error
    assert town.answers() == before


def test_a_sidecar_starts_without_its_certificate_and_follows_once_it_is_there(town):
    town.controller_on_tcp(tls_client_ca=town.client_ca)
    given = town.pair("web", WEB)
    (town.root / "web.key").rename(town.root / "away")
    words = flags(control=town.address, **town.knowing, **given)
    child = town.start("sidecar", *words)
    town.until("it says so", lambda: town.sidecar().control_stream.last_error, child)
    assert f"{town.root}/web.key: no such file" in town.sidecar().control_stream.last_error
    (town.root / "away").rename(town.root / "web.key")
    town.until_ready(child)
    town.until_known_as(WEB)


def test_the_command_line_changes_weights_as_an_operator_and_not_as_a_sidecar(town):
    town.controller_on_tcp(tls_client_ca=town.client_ca, allow_operator=ANN)
    far = {"control": town.address, **town.knowing}
    web, ann = town.pair("web", WEB), town.pair("ann", ANN)
    status, said = town.run("weights", "chat", "canary=50", *flags(**far, **web))
    assert (status, "may follow, but not change weights" in said) == (1, True)
    status, said = town.run("weights", "chat", "canary=50", *flags(**far, **ann))
    assert (status, "50 %" in said) == (0, True)
    assert town.rollout().last_event.who == ANN
    # On the controller's own machine its socket is enough, and weights is recorded as it was.
    assert town.run("weights", "chat", "canary=25")[0] == 0
    assert weights(town.rollout().in_force) == {"stable": "75", "canary": "25"}
    status, said = town.run("status", "--json", *flags(**far, **web))
    assert json.loads(said)["controller"]["rollouts"][0]["revision"] == "3"


@pytest.mark.parametrize("command", ["controller", "sidecar", "up", "weights", "status", "doctor"])
def test_plaintext_beyond_this_machine_is_refused_by_every_command(town, command):
    words = {
        "controller": [town.folder],
        "up": [town.folder],
        "weights": ["chat", "canary=1"],
        "doctor": ["--admin", "127.0.0.1:1"],
    }.get(command, [])
    status, said = town.run(command, *words, "--control", "192.0.2.1:18000")
    assert status == 1
    assert "192.0.2.1:18000 is not on loopback" in said
    assert "--insecure-plaintext-control" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda town: {"tls_key": town.pair("other", WEB)["tls_key"]}, "do not belong together"),
        (lambda town: {"tls_key": town.root / "gone"}, "gone: no such file"),
        (lambda town: {"tls_client_ca": town.root / "controller.key"}, "is not a certificate"),
        (lambda town: {"token_file": put(town.root / "t", b"hunter2")}, "a line is not a token"),
        (lambda _: {"tls_client_ca": None}, "anybody could follow"),
    ],
    ids=["other key", "no key", "no CA", "weak token", "no callers"],
)
def test_a_controller_that_cannot_be_safe_does_not_start(town, change, said):
    given = {**town.pair("controller", CONTROLLER), "tls_client_ca": town.client_ca}
    given = {name: value for name, value in {**given, **change(town)}.items() if value}
    status, log = town.run("controller", town.folder, *flags(control="127.0.0.1:0", **given))
    assert status == 1
    assert said in log
    assert "remedy: " in log
    assert "hunter2" not in log


def test_up_serves_others_over_tls_and_its_own_sidecar_over_the_socket(town):
    given = {**town.pair("controller", CONTROLLER), "tls_client_ca": town.client_ca}
    up = town.start("up", town.folder, *flags(control="127.0.0.1:0", **given))
    town.until_ready(up)
    assert town.sidecar().control_stream.address == town.settings.control
    address = re.search(r"address=(127\S+) protection=(.*)", up.log.read_text())
    assert address[2].startswith('"tls+client certificates"')
    security = config.security(**town.knowing, **town.pair("web", WEB))
    assert calls.controller_status(address[1], security).version == town.controller().version


@pytest.mark.parametrize("mode", [None, "0600", "0660", "0666"])
def test_envoys_socket_has_the_mode_asked_for_and_every_other_is_its_owners(town, mode):
    given = {"socket_mode": mode} if mode else {}
    up = town.start("up", town.folder, *flags(**given))
    town.until_ready(up)
    sockets = {path.name: path.stat() for path in (town.root / "r").iterdir()}
    assert {name: f"{stat.S_IMODE(one.st_mode):04o}" for name, one in sockets.items()} == {
        "ext_proc.sock": mode or "0600",
        "control.sock": "0600",
        "sidecar.sock": "0600",
    }
    assert stat.S_IMODE((town.root / "r").stat().st_mode) & 0o022 == 0
    assert stat.S_IMODE((town.root / "s").stat().st_mode) == 0o700


def test_no_secret_is_ever_said(town):
    theirs = put(town.root / "theirs", SIDECARS.encode())
    operators = put(town.root / "operators", OPERATORS.encode())
    town.controller_on_tcp(
        tls_client_ca=town.client_ca, token_file=theirs, operator_token_file=operators
    )
    web = town.pair("web", WEB)
    town.sidecar_on_tcp(token_file=theirs, **web)
    far = {"control": town.address, **town.knowing, **web}
    late = put(town.root / "late", LATER.encode())
    assert town.run("status", *flags(**far, token_file=late))[0] == 1
    assert town.run("weights", "chat", "canary=1", *flags(**far, token_file=theirs))[0] == 1
    assert town.run("weights", "chat", "canary=9", *flags(**far, token_file=operators))[0] == 0
    for words in (["status"], ["status", "--json"]):
        assert town.run(*words, *flags(**far, token_file=theirs))[0] == 0
    put(town.root / "theirs", b"broken " + SIDECARS.encode())
    assert town.run("status", *flags(**far, token_file=late))[0] == 1
    logs = {path: path.read_text() for path in town.root.glob("*.log")}
    assert any("files not taken" in text for text in logs.values())
    assert "not one of this controller's" in logs[town.started[0].log]
    for path, text in logs.items():
        for secret in town.secrets:
            assert secret not in text, path
    kept = [path.read_bytes() for path in (town.root / "s").rglob("*") if path.is_file()]
    for secret in town.secrets:
        assert not any(secret.encode() in data for data in kept)


def test_a_document_still_moves_under_tls(town):
    town.controller_on_tcp(tls_client_ca=town.client_ca)
    town.sidecar_on_tcp(**town.pair("web", WEB))
    town.write(text=document(stable=60, canary=40))
    town.until_agreed(*town.started)
    town.until("the change", lambda: town.rollout().revision == 2, *town.started)
    town.until_agreed(*town.started)
