"""The ways into a controller: who may come in by which address, and what they may do there.

Invariant: whoever is not known by a certificate or a token comes in only where nobody else can
(this machine), or where a flag says so by name. Following and reading is one right, changing
weights another: a sidecar's certificate or token does not give it. The rules: docs/security.md.
"""

import logging
import re
import ssl
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from sidecar import config
from sidecar.config import NO_SECURITY, ConfigError, Security
from sidecar.control import certificates, wire
from sidecar.control.tokens import Tokens
from sidecar.control.watched import Watched
from sidecar.errors import CanaryError

# The kinds of subject alternative name that name somebody, the most telling first.
_NAMES = ("peer_uri", "peer_email", "peer_dns")
_SSL_NAMES = {"URI": "peer_uri", "email": "peer_email", "DNS": "peer_dns"}
# A misconfigured fleet is worth a line each, an attacker is not worth a full disk.
_MOST_COMPLAINTS = 1000
_log = logging.getLogger(__name__)


class UnauthenticatedError(CanaryError):
    """Nobody knows who calls."""


class ForbiddenError(CanaryError):
    """The caller is known, and may not do this."""


class Caller(NamedTuple):
    """Who calls: what the certificate says (if there is one), and whether weights may change."""

    identity: str
    by_token: bool
    operator: bool

    def signs(self, claimed: str) -> str:
        """Return who stands in the record for a change. Raises ForbiddenError."""
        if not self.operator:
            raise ForbiddenError(
                f"{self.identity or 'whoever comes this way'} may follow, but not change weights",
                remedy="use the controller's Unix socket, an operator's token"
                " (--operator-token-file) or a certificate that --allow-operator names",
            )
        if self.identity:
            return self.identity
        return f"{claimed} (operator token)" if self.by_token else claimed


class Door:
    """One address of a controller. Raises ConfigError if it would stand open by accident."""

    def __init__(self, address: str, security: Security = NO_SECURITY) -> None:
        self.address = address
        if config.socket_path(address):
            security = NO_SECURITY
        _check(address, security)
        self._security = security
        self._tokens = _tokens(security.token_file)
        self._operator_tokens = _tokens(security.operator_token_file)
        self._open = config.is_local(address) and not (security.client_ca or self._tokens)
        self._keys = _Keys(security) if security.cert and security.key else None
        self._complaints: set[tuple[str, str]] = set()

    @property
    def guarded(self) -> bool:
        """Whether callers must show something, which may be taken from them later."""
        return bool(self._security.client_ca or self._tokens)

    @property
    def protection(self) -> str:
        """Name it, for the log."""
        tls = ["tls"] if self._keys else ["plaintext"]
        return "+".join(
            tls
            + ["client certificates"] * bool(self._security.client_ca)
            + ["tokens"] * bool(self._tokens)
        )

    def bind(self, server: grpc.aio.Server) -> None:
        """Let the server listen. Raises CanaryError if it cannot, or its files are not good."""
        for tokens in (self._tokens, self._operator_tokens):
            if tokens:
                tokens.check()
        credentials = self._keys.credentials() if self._keys else None
        self.address = wire.listen(server, self.address, credentials)

    def admit(self, context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
        """Say who calls. Raises UnauthenticatedError or ForbiddenError."""
        peer = context.peer().rpartition(":")[0]
        return self._heard(_names(context.auth_context()), _bearer(context), peer)

    def recognise(self, certificate: Mapping[str, Any] | None, token: str, peer: str) -> Caller:
        """Say who calls by HTTP, from the certificate as `ssl` gives it and the bearer token.

        Raises UnauthenticatedError or ForbiddenError.
        """
        named: dict[str, list[str]] = {kind: [] for kind in _NAMES}
        for kind, name in (certificate or {}).get("subjectAltName", ()):
            if kind in _SSL_NAMES:
                named[_SSL_NAMES[kind]].append(name)
        return self._heard(named, token, peer)

    def tls(self) -> ssl.SSLContext | None:
        """Return what protects HTTP at this address, files read anew when they change.

        None where there is no TLS. Raises CanaryError if the files are not good.
        """
        for tokens in (self._tokens, self._operator_tokens):
            if tokens:
                tokens.check()
        return self._keys.context() if self._keys else None

    def _heard(self, names: Mapping[str, Sequence[str]], token: str, peer: str) -> Caller:
        try:
            return self._judge(names, token)
        except CanaryError as error:
            self._complain(peer, error)
            raise

    def _judge(self, names: Mapping[str, Sequence[str]], token: str) -> Caller:
        by_operator = bool(self._operator_tokens and self._operator_tokens.know(token))
        if self._tokens and not by_operator and not self._tokens.know(token):
            raise UnauthenticatedError(
                "the token is not one of this controller's" if token else "no token was shown",
                remedy="give --token-file (CANARY_TOKEN_FILE) with a token of this controller",
            )
        allowed = self._security
        operator = _match(names, allowed.allow_operators)
        known = operator or _match(names, allowed.allow_sidecars)
        name = known or next((one for kind in _NAMES for one in names[kind]), "")
        if allowed.allow_sidecars and not known and not by_operator:
            raise ForbiddenError(
                f"the certificate of {name or 'somebody without a name'} is not one to be let in",
                remedy="name it with --allow-sidecar or --allow-operator on the controller",
            )
        return Caller(name, by_operator, self._open or by_operator or bool(operator))

    def _complain(self, host: str, error: CanaryError) -> None:
        if (host, str(error)) in self._complaints or len(self._complaints) > _MOST_COMPLAINTS:
            return
        self._complaints.add((host, str(error)))
        _log.warning("caller refused", extra={"peer": host, "error": error.args[0]})


class _Keys:
    """The certificate, its key and the callers' CA, as gRPC takes them at every handshake."""

    def __init__(self, security: Security) -> None:
        assert security.cert
        assert security.key
        self._judge = certificates.pair(security.cert, security.key, server=True)
        self._pair = (security.cert, security.key)
        self._client_ca = security.client_ca
        files = [file for file in (security.cert, security.key, security.client_ca) if file]
        self._files = Watched(files, self._parse, secret=[security.key])
        self._given: object = None

    def credentials(self) -> grpc.ServerCredentials:
        """Return what asks the files anew for each connection. Raises CanaryError."""
        first = self._changed()
        assert first
        return grpc.dynamic_ssl_server_credentials(
            first, self._changed, require_client_authentication=bool(self._client_ca)
        )

    def context(self) -> ssl.SSLContext:
        """Return the context for HTTP; each handshake has the newest good files."""
        newest, made_of = self._context(), self._files.value()

        def renew(socket: Any, name: str, context: ssl.SSLContext) -> None:
            nonlocal newest, made_of
            del name, context
            if self._files.value() is not made_of:
                try:
                    newest, made_of = self._context(), self._files.value()
                except (OSError, ssl.SSLError):
                    _log.warning("HTTP keeps its certificate: the new files cannot be loaded")
            socket.context = newest

        first = newest
        first.sni_callback = renew
        return first

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(*self._pair)
        if self._client_ca:
            context.load_verify_locations(self._client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _changed(self) -> Any:
        """Return a new configuration, or None if it is as it was: gRPC keeps what it is given."""
        value = self._files.value()
        if value is self._given:
            return None
        self._given = value
        pair, ca = value
        return grpc.ssl_server_certificate_configuration([(pair.key, pair.cert)], ca)

    def _parse(self, contents: Sequence[bytes]) -> tuple[certificates.Pair, bytes | None]:
        pair = self._judge(contents[0], contents[1])
        if self._client_ca is None:
            return pair, None
        return pair, certificates.authorities(self._client_ca, contents[2])


def _check(address: str, security: Security) -> None:
    knows_callers = security.client_ca or security.token_file
    if security.client_ca and not security.cert:
        raise ConfigError(
            "--tls-client-ca says whose certificates to take, but there is no TLS",
            remedy="give --tls-cert and --tls-key as well",
        )
    if security.cert and not knows_callers:
        raise ConfigError(
            f"{address} speaks TLS, but anybody could follow: callers show nothing",
            remedy="give --tls-client-ca (client certificates), --token-file, or both",
        )
    if (security.allow_sidecars or security.allow_operators) and not security.client_ca:
        raise ConfigError(
            "--allow-sidecar and --allow-operator name certificates, but none are asked for",
            remedy="give --tls-client-ca as well",
        )
    if security.operator_token_file and not knows_callers:
        raise ConfigError(
            "--operator-token-file has no effect while everybody else comes in without a token",
            remedy="give --token-file or --tls-client-ca as well",
        )
    if not config.is_local(address) and not security.cert:
        _check_plaintext(address, security)


def _check_plaintext(address: str, security: Security) -> None:
    if security.token_file:
        raise ConfigError(
            f"{address} is not on loopback, and a token over plaintext is everybody's",
            remedy="give --tls-cert and --tls-key",
        )
    if not security.insecure_plaintext:
        raise ConfigError(
            f"{address} is not on loopback, and the control stream would be plaintext",
            remedy="give --tls-cert, --tls-key and --tls-client-ca or --token-file"
            " (docs/security.md), or say --insecure-plaintext-control",
        )


def _tokens(path: Path | None) -> Tokens | None:
    return Tokens(path) if path else None


def _names(auth: Mapping[str, Iterable[bytes]]) -> dict[str, list[str]]:
    return {kind: [one.decode(errors="replace") for one in auth.get(kind, ())] for kind in _NAMES}


def _bearer(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str) and value.startswith("Bearer "):
            return value.removeprefix("Bearer ")
    return ""


def _match(names: Mapping[str, Sequence[str]], patterns: Sequence[str]) -> str:
    """Return the first name that a pattern means; a `*` is one part of a path or of a host."""
    for pattern in patterns:
        kind, part = _kind(pattern)
        expression = re.compile(re.escape(pattern).replace(r"\*", part))
        for name in names[kind]:
            if expression.fullmatch(name):
                return name
    return ""


def _kind(pattern: str) -> tuple[str, str]:
    if "://" in pattern:
        return "peer_uri", "[^/]+"
    return ("peer_email", "[^@]+") if "@" in pattern else ("peer_dns", "[^.]+")
