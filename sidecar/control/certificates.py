"""Certificates, keys and CAs from PEM bytes, judged before gRPC meets them.

gRPC says little about a certificate it cannot use, and says it at every handshake. So each pair is
first shown to ourselves, in a handshake in memory: the standard library then tells what is wrong
with it, or what stands in it.
"""

import os
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from sidecar.config import ConfigError

# X509_V_FLAG_NO_CHECK_TIME of OpenSSL: the dates are judged here, by name.
_NO_CHECK_TIME = ssl.VerifyFlags(0x200000)
_MISMATCHES = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"}


class CertificateError(ConfigError):
    """A certificate, a key or a CA that cannot be used; the message names its file."""


class Pair(NamedTuple):
    """A certificate with its chain, and its key, both in PEM."""

    cert: bytes
    key: bytes
    expires: datetime


def pair(cert: Path, key: Path, *, server: bool) -> Callable[[bytes, bytes], Pair]:
    """Return what judges the contents of the two files: for a server, or else for a client."""

    def judge(cert_pem: bytes, key_pem: bytes) -> Pair:
        _trusting(cert, cert_pem)
        contexts = _contexts(cert, key, cert_pem, key_pem)
        try:
            shown = _rehearse(*contexts, cert_pem, server_shows=server)
        except ssl.SSLError as error:
            raise CertificateError(
                f"{cert} cannot be used: {getattr(error, 'verify_message', '') or error.reason}",
                remedy="a controller's certificate needs the extended key usage serverAuth, those"
                " of sidecars and operators need clientAuth (or none is named at all)",
            ) from error
        return Pair(cert_pem, key_pem, _within_dates(cert, [shown]))

    return judge


def authorities(path: Path, pem: bytes) -> bytes:
    """Judge a bundle of CA certificates and return it. Raises CertificateError."""
    known = _trusting(path, pem).get_ca_certs()
    if not known:
        raise CertificateError(
            f"{path} holds certificates, but none of a CA",
            remedy="give the certificate that signed, not the one that was signed",
        )
    _within_dates(path, known)
    return pem


def _within_dates(path: Path, certificates: Sequence[Mapping[str, Any]]) -> datetime:
    """Return when the last of them expires. Raises CertificateError if none is valid now."""
    now = datetime.now(UTC)
    began = min(_moment(one["notBefore"]) for one in certificates)
    expires = max(_moment(one["notAfter"]) for one in certificates)
    if expires <= now:
        raise CertificateError(
            f"{path} expired on {expires:%Y-%m-%d at %H:%M} UTC",
            remedy="put a new certificate there; nothing needs a restart",
        )
    if began > now:
        raise CertificateError(
            f"{path} is not valid before {began:%Y-%m-%d at %H:%M} UTC",
            remedy="check this machine's clock",
        )
    return expires


def _trusting(path: Path, pem: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=pem.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise CertificateError(
            f"{path} is not a certificate in PEM",
            remedy="it begins with -----BEGIN CERTIFICATE-----",
        ) from error
    return context


def _contexts(
    cert: Path, key: Path, cert_pem: bytes, key_pem: bytes
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a client's and a server's context that both show the pair."""
    contexts = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        for context in contexts:
            with _in_memory(cert_pem + b"\n" + key_pem) as file:
                # An empty password instead of a question on the terminal.
                context.load_cert_chain(file, password="")
    except ssl.SSLError as error:
        if error.reason in _MISMATCHES:
            raise CertificateError(
                f"{cert} and {key} do not belong together",
                remedy="give the private key that the certificate was made for",
            ) from error
        raise CertificateError(
            f"{key} is not a private key in PEM without a password",
            remedy="`openssl pkey -in KEY -out NEW` takes a password off",
        ) from error
    return contexts


@contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    """Give bytes a path, because `ssl` takes no less; nothing is written to a disk."""
    handle = os.memfd_create("pair")
    try:
        os.write(handle, data)
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


def _rehearse(
    client: ssl.SSLContext, server: ssl.SSLContext, trusted: bytes, *, server_shows: bool
) -> Mapping[str, Any]:
    """Shake hands in memory and return what one end saw of the other's certificate."""
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    sees = client if server_shows else server
    sees.verify_mode = ssl.CERT_REQUIRED
    sees.verify_flags = ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    sees.load_verify_locations(cadata=trusted.decode("ascii"))
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)
    for end in ends * 3:
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return ends[0 if server_shows else 1].getpeercert() or {}


def _moment(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)
