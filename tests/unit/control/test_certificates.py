"""Certificates are judged by file and by date before they are used."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from security_lab import CLIENT_AUTH, CONTROLLER, SERVER_AUTH, WEB, Authority, private

from sidecar.control import certificates
from sidecar.control.certificates import CertificateError

CERT, KEY, CA = Path("/x/tls.crt"), Path("/x/tls.key"), Path("/x/ca.crt")


@pytest.fixture(scope="module")
def authority():
    return Authority()


def refused(cert: bytes, key: bytes, *, server: bool = True) -> str:
    with pytest.raises(CertificateError) as error:
        certificates.pair(CERT, KEY, server=server)(cert, key)
    assert error.value.remedy
    return str(error.value)


@pytest.mark.parametrize(("server", "usage"), [(True, SERVER_AUTH), (False, CLIENT_AUTH)])
def test_a_pair_that_fits_is_taken_with_the_day_it_expires(authority, server, usage):
    for made in (authority.signs(CONTROLLER, WEB, usage=usage), authority.signs(days=(-2, 3))):
        pair = certificates.pair(CERT, KEY, server=server)(made.cert, made.key)
        assert (pair.cert, pair.key) == (made.cert, made.key)
    left = pair.expires - datetime.now(UTC)
    assert timedelta(days=2) < left <= timedelta(days=3)


@pytest.mark.parametrize("server", [True, False])
def test_a_chain_is_taken(authority, server):
    made = authority.signs(CONTROLLER)
    chain = made.cert + authority.pem
    assert certificates.pair(CERT, KEY, server=server)(chain, made.key).cert == chain


@pytest.mark.parametrize("server", [True, False])
def test_an_expired_certificate_is_named_with_its_date(authority, server):
    made = authority.signs(CONTROLLER, days=(-3, -2))
    day = datetime.now(UTC) - timedelta(days=2)
    said = refused(made.cert, made.key, server=server)
    assert f"{CERT} expired on {day:%Y-%m-%d}" in said


def test_a_certificate_of_tomorrow_is_named_with_its_date(authority):
    made = authority.signs(days=(1, 2))
    day = datetime.now(UTC) + timedelta(days=1)
    assert f"{CERT} is not valid before {day:%Y-%m-%d}" in refused(made.cert, made.key)


def test_a_key_of_another_certificate_is_named(authority):
    said = refused(authority.signs().cert, authority.signs().key)
    assert f"{CERT} and {KEY} do not belong together" in said


@pytest.mark.parametrize("broken", [b"", b"nonsense", b"\xff\xfe"])
def test_what_is_no_pem_is_named_by_its_file(authority, broken):
    made = authority.signs()
    assert f"{CERT} is not a certificate" in refused(broken, made.key)
    assert f"{KEY} is not a private key" in refused(made.cert, broken)
    with pytest.raises(CertificateError, match=r"ca\.crt is not a certificate"):
        certificates.authorities(CA, broken)


def test_a_key_with_a_password_is_refused_without_asking_for_it(authority):
    hidden = private(ec.generate_private_key(ec.SECP256R1()), b"secret word")
    assert "without a password" in refused(authority.signs().cert, hidden)


def test_a_certificate_for_the_other_side_is_refused(authority):
    for_clients = authority.signs(usage=CLIENT_AUTH)
    assert "serverAuth" in refused(for_clients.cert, for_clients.key)
    for_servers = authority.signs(usage=SERVER_AUTH)
    assert "clientAuth" in refused(for_servers.cert, for_servers.key, server=False)


def test_a_signed_certificate_is_no_authority(authority):
    with pytest.raises(CertificateError, match="none of a CA"):
        certificates.authorities(CA, authority.signs().cert)


def test_of_several_authorities_one_that_is_valid_is_enough(authority):
    old = Authority("old", days=(-3, -1))
    both = old.pem + authority.pem
    assert certificates.authorities(CA, both) == both
    with pytest.raises(CertificateError, match=r"ca\.crt expired on"):
        certificates.authorities(CA, old.pem)
