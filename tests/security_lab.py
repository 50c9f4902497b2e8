"""Certificate authorities, what they sign, and files that change as a whole."""

import ipaddress
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CONTROLLER = "controller.test"
WEB = "spiffe://mesh.test/ns/shop/sa/web"
ANN = "ann@example.test"
SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True)
class Pair:
    """A certificate and its key in PEM."""

    cert: bytes
    key: bytes

    def put(self, folder: Path, name: str) -> dict[str, str]:
        """Write both; the flags that name them."""
        put(folder / f"{name}.crt", self.cert)
        put(folder / f"{name}.key", self.key)
        return {"tls_cert": f"{folder / name}.crt", "tls_key": f"{folder / name}.key"}


class Authority:
    """Signs certificates; `pem` is its own."""

    def __init__(self, name: str = "authority", days: tuple[int, int] = (-1, 30)) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = _certificate(self._name, self._key, days).issuer_name(self._name)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.pem = _pem(made.sign(self._key, hashes.SHA256()))

    def signs(
        self,
        *names: str,
        days: tuple[int, int] = (-1, 30),
        usage: x509.ObjectIdentifier | None = None,
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")])
        made = _certificate(subject, key, days).issuer_name(self._name)
        made = made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        if names:
            alternative = x509.SubjectAlternativeName([_general(name) for name in names])
            made = made.add_extension(alternative, critical=False)
        if usage:
            made = made.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return Pair(_pem(made.sign(self._key, hashes.SHA256())), private(key))


def private(key: ec.EllipticCurvePrivateKey, password: bytes = b"") -> bytes:
    hidden = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)


def put(path: Path, data: bytes, mode: int = 0o600) -> str:
    """Write a file whole, as a mounted Secret changes; its path, for a flag."""
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(data)
    new.chmod(mode)
    new.rename(path)
    return str(path)


def shown(address: str, ca: bytes, client: Pair, folder: Path) -> bytes:
    """Connect as TLS alone, and return the certificate that the other side shows."""
    context = ssl.create_default_context(cadata=ca.decode())
    context.load_cert_chain(*client.put(folder, "looker").values())
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), 5) as plain,
        context.wrap_socket(plain, server_hostname=CONTROLLER) as secure,
    ):
        return ssl.DER_cert_to_PEM_cert(secure.getpeercert(binary_form=True) or b"").encode()


def flags(**given: object) -> list[str]:
    """The words of a command line that say the same."""
    words = []
    for name, value in given.items():
        for one in value if isinstance(value, (list, tuple)) else [value]:
            words += [f"--{name.replace('_', '-')}", str(one)]
    return words


def _certificate(subject, key, days) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    begins, ends = (now + timedelta(days=one) for one in days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )


def _general(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    if "@" in name:
        return x509.RFC822Name(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
