"""The way to a controller: channels that prove whom they reach and who is calling.

The files are read for every channel, so that what is rotated counts from the next connection on.
Invariant: nothing is dialled in plaintext beyond this machine unless a flag says so by name, and a
token never travels unencrypted beyond it at all.
"""

from collections.abc import Sequence
from typing import NamedTuple

import grpc

from sidecar import config
from sidecar.config import NO_SECURITY, ConfigError, Security
from sidecar.control import certificates, wire
from sidecar.control.tokens import Tokens
from sidecar.control.watched import Watched

Metadata = tuple[tuple[str, str], ...]


class Reason(NamedTuple):
    """Why a controller cannot be reached, in words, and what to do about it."""

    what: str
    remedy: str


_REASONS = (
    (
        "certificate has expired",
        Reason("its certificate has expired", "renew the controller's --tls-cert"),
    ),
    (
        "CERTIFICATE_VERIFY_FAILED",
        Reason(
            "its certificate is not signed by the CA in --tls-ca",
            "give the CA that signed the controller's certificate",
        ),
    ),
    (
        "Hostname Verification Check failed",
        Reason(
            "its certificate is for another name",
            "give the name that stands in the certificate with --control-name",
        ),
    ),
    (
        "WRONG_VERSION_NUMBER",
        Reason("it does not speak TLS", "leave out --tls-ca, or give the controller a --tls-cert"),
    ),
)
_NOT_TAKEN = Reason(
    "it refuses our certificate, or wants one",
    "give --tls-cert and --tls-key, signed by the CA in the controller's --tls-client-ca",
)
_NO_TLS = Reason("it hangs up on plaintext", "if it speaks TLS, give --tls-ca")


class Dialler:
    """Reaches one address. Raises ConfigError if that would be plaintext by accident."""

    def __init__(self, address: str, security: Security = NO_SECURITY) -> None:
        if config.socket_path(address):
            security = NO_SECURITY
        _check(address, security)
        self.address = address
        self._keys = _Keys(security) if security.ca else None
        self._tokens = Tokens(security.token_file) if security.token_file else None
        self._options: list[tuple[str, int | str]] = list(wire.CLIENT_OPTIONS)
        if security.name:
            self._options.append(("grpc.ssl_target_name_override", security.name))

    def channel(self) -> grpc.Channel:
        """Return a blocking channel. Raises CanaryError if the files were never good."""
        if not self._keys:
            return grpc.insecure_channel(self.address, self._options)
        return grpc.secure_channel(self.address, self._keys.credentials(), self._options)

    def aio_channel(self) -> grpc.aio.Channel:
        """Return a channel of the running event loop. Raises CanaryError likewise."""
        if not self._keys:
            return grpc.aio.insecure_channel(self.address, self._options)
        return grpc.aio.secure_channel(self.address, self._keys.credentials(), self._options)

    def metadata(self) -> Metadata:
        """Return what each call must carry. Raises CanaryError if there was never a good token."""
        return (("authorization", f"Bearer {self._tokens.first()}"),) if self._tokens else ()

    def reason(self, details: str) -> Reason | None:
        """Translate what gRPC says about a failed connection, if it is about who is who."""
        if "failed to connect" not in details:
            return None
        for sign, reason in _REASONS:
            if sign in details:
                return reason
        if "Socket closed" in details:
            return _NOT_TAKEN if self._keys else _NO_TLS
        return None


class _Keys:
    """The controller's CA, and our own certificate if we have one."""

    def __init__(self, security: Security) -> None:
        assert security.ca
        self._ca = security.ca
        self._judge = None
        files = [security.ca]
        if security.cert and security.key:
            self._judge = certificates.pair(security.cert, security.key, server=False)
            files += [security.cert, security.key]
        self._files = Watched(files, self._parse, secret=files[2:])

    def credentials(self) -> grpc.ChannelCredentials:
        return self._files.value()

    def _parse(self, contents: Sequence[bytes]) -> grpc.ChannelCredentials:
        ca = certificates.authorities(self._ca, contents[0])
        if self._judge is None:
            return grpc.ssl_channel_credentials(ca)
        pair = self._judge(contents[1], contents[2])
        return grpc.ssl_channel_credentials(ca, pair.key, pair.cert)


def _check(address: str, security: Security) -> None:
    if security.cert and not security.ca:
        raise ConfigError(
            "--tls-cert says who is calling, but nothing says who should answer",
            remedy="give --tls-ca with the CA that signed the controller's certificate",
        )
    if security.ca or config.is_local(address):
        return
    if security.token_file:
        raise ConfigError(
            f"{address} is not on loopback, and a token over plaintext is everybody's",
            remedy="give --tls-ca with the CA that signed the controller's certificate",
        )
    if not security.insecure_plaintext:
        raise ConfigError(
            f"{address} is not on loopback, and the control stream would be plaintext",
            remedy="give --tls-ca (docs/security.md), or say --insecure-plaintext-control",
        )
