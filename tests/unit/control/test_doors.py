"""Who may come in by which address, and who may change weights there."""

import logging
from types import SimpleNamespace

import pytest
from security_lab import ANN, CONTROLLER, WEB, Authority, put

from sidecar import config
from sidecar.config import ConfigError
from sidecar.control.dialling import Dialler
from sidecar.control.doors import Door, ForbiddenError, UnauthenticatedError

SIDECARS, OPERATORS = "s" * 32, "o" * 32
NEAR, FAR, SOCKET = "127.0.0.1:0", "10.0.0.1:18000", "unix:///r/control.sock"


@pytest.fixture
def given(tmp_path):
    authority = Authority()
    return {
        **authority.signs(CONTROLLER).put(tmp_path, "controller"),
        "tls_ca": put(tmp_path / "ca.crt", authority.pem),
        "tls_client_ca": put(tmp_path / "clients.crt", authority.pem),
        "token_file": put(tmp_path / "tokens", SIDECARS.encode()),
        "operator_token_file": put(tmp_path / "operators", OPERATORS.encode()),
        "allow_sidecar": ["spiffe://mesh.test/ns/*/sa/web"],
        "allow_operator": [ANN, "*.ops.test"],
        "insecure_plaintext_control": True,
    }


def chosen(given, *names):
    return config.security(**{name: given[name] for name in names})


TLS = ("tls_cert", "tls_key")
MUTUAL = (*TLS, "tls_client_ca")


def caller(token="", uri=(), email=(), dns=(), peer="ipv4:10.0.0.9:1234"):
    """What a door asks of a gRPC context."""
    names = {"peer_uri": uri, "peer_email": email, "peer_dns": dns}
    return SimpleNamespace(
        auth_context=lambda: {kind: [n.encode() for n in one] for kind, one in names.items()},
        invocation_metadata=lambda: (("authorization", f"Bearer {token}"),) if token else (),
        peer=lambda: peer,
    )


def who(door, context, claimed="bob"):
    """The name on a change; None if the caller may follow only."""
    found = door.admit(context)
    try:
        return found.signs(claimed)
    except ForbiddenError:
        return None


@pytest.mark.parametrize("address", [SOCKET, NEAR])
def test_on_this_machine_everybody_who_gets_there_may_do_everything(given, address):
    assert who(Door(address), caller()) == "bob"
    assert not Door(address).guarded


def test_a_unix_socket_is_protected_by_its_mode_alone(given):
    door = Door(SOCKET, config.security(**{**given, "insecure_plaintext_control": False}))
    assert who(door, caller()) == "bob"


def test_a_token_lets_in_and_an_operators_token_lets_change(given):
    door = Door(NEAR, chosen(given, "token_file", "operator_token_file"))
    assert door.guarded
    assert who(door, caller(SIDECARS)) is None
    assert who(door, caller(OPERATORS)) == "bob (operator token)"
    for token in ("", "x" * 32):
        with pytest.raises(UnauthenticatedError) as refused:
            door.admit(caller(token))
        assert "token" in str(refused.value)
        assert "x" * 32 not in str(refused.value)
        assert refused.value.remedy


def test_a_certificate_lets_in_and_a_named_one_lets_change(given):
    door = Door(FAR, chosen(given, *MUTUAL, "allow_operator"))
    assert door.guarded
    assert who(door, caller(uri=[WEB])) is None
    assert who(door, caller()) is None
    assert who(door, caller(uri=[WEB], email=[ANN])) == ANN
    assert who(door, caller(dns=["cd.ops.test"])) == "cd.ops.test"


@pytest.mark.parametrize(
    "names",
    [
        {"dns": ["ops.test"]},
        {"dns": ["a.b.ops.test"]},
        {"dns": ["cd.ops.test.evil.test"]},
        {"dns": [ANN]},
        {"uri": [ANN]},
        {"email": ["xann@example.test"]},
        {"dns": ["cd-ops.test"]},
    ],
)
def test_a_name_that_only_looks_like_an_operators_is_none(given, names):
    assert who(Door(FAR, chosen(given, *MUTUAL, "allow_operator")), caller(**names)) is None


def test_a_list_of_sidecars_keeps_others_out_but_not_operators(given):
    door = Door(FAR, chosen(given, *MUTUAL, "allow_sidecar", "allow_operator"))
    assert who(door, caller(uri=[WEB])) is None
    assert who(door, caller(email=[ANN])) == ANN
    for uri in ([], ["spiffe://mesh.test/ns/shop/sa/db"], ["spiffe://mesh.test/ns/a/b/sa/web"]):
        with pytest.raises(ForbiddenError, match="not one to be let in"):
            door.admit(caller(uri=uri))


def test_with_certificates_and_tokens_both_are_needed(given):
    door = Door(FAR, chosen(given, *MUTUAL, "token_file", "operator_token_file"))
    with pytest.raises(UnauthenticatedError):
        door.admit(caller(uri=[WEB]))
    assert who(door, caller(SIDECARS, uri=[WEB])) is None
    assert who(door, caller(OPERATORS, uri=[WEB])) == WEB


def test_without_any_proof_from_afar_everybody_follows_and_nobody_changes(given):
    door = Door(FAR, chosen(given, "insecure_plaintext_control"))
    assert who(door, caller()) is None
    assert door.protection == "plaintext"


@pytest.mark.parametrize(
    ("address", "names", "what"),
    [
        (FAR, (), "would be plaintext"),
        (FAR, ("token_file", "insecure_plaintext_control"), "a token over plaintext"),
        (FAR, TLS, "anybody could follow"),
        (NEAR, TLS, "anybody could follow"),
        (NEAR, ("tls_client_ca",), "there is no TLS"),
        (FAR, (*TLS, "token_file", "allow_operator"), "name certificates"),
        (NEAR, ("operator_token_file",), "no effect"),
    ],
)
def test_a_door_that_would_stand_open_is_refused(given, address, names, what):
    with pytest.raises(ConfigError, match=what) as refused:
        Door(address, chosen(given, *names))
    assert "--" in refused.value.remedy


@pytest.mark.parametrize(
    ("names", "what"),
    [
        ((), "would be plaintext"),
        (("token_file",), "a token over plaintext"),
        (("token_file", "insecure_plaintext_control"), "a token over plaintext"),
        (TLS, "nothing says who should answer"),
    ],
)
def test_dialling_beyond_this_machine_without_tls_is_refused(given, names, what):
    with pytest.raises(ConfigError, match=what) as refused:
        Dialler(FAR, chosen(given, *names))
    assert "--tls-ca" in refused.value.remedy


@pytest.mark.parametrize("names", [("tls_ca",), (*TLS, "tls_ca"), ("insecure_plaintext_control",)])
def test_dialling_beyond_this_machine_takes_tls_or_a_flag_that_says_so(given, names):
    assert Dialler(FAR, chosen(given, *names)).address == FAR


def test_a_token_never_goes_to_a_unix_socket(given):
    security = chosen(given, "token_file")
    assert Dialler(SOCKET, security).metadata() == ()
    assert Dialler(NEAR, security).metadata() == (("authorization", f"Bearer {SIDECARS}"),)


def test_a_refused_caller_is_logged_once_for_each_reason(given, caplog):
    caplog.set_level(logging.WARNING)
    door = Door(NEAR, chosen(given, "token_file"))
    for token, port in (("", 1), ("", 2), ("x" * 32, 3), ("x" * 32, 4)):
        with pytest.raises(UnauthenticatedError):
            door.admit(caller(token, peer=f"ipv4:10.0.0.9:{port}"))
    assert [record.error for record in caplog.records] == [
        "no token was shown",
        "the token is not one of this controller's",
    ]
    assert "x" * 32 not in caplog.text
