"""Where things are: directories, addresses, and the bytes of rollout files.

One place turns what people type (flags, environment, nothing at all) into values the rooms can
trust. Envoy's side stays on this machine; the control stream may leave it, protected by what
`Security` names (whoever opens or dials an address holds the two together: `sidecar.control`).
"""

import ipaddress
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs

from sidecar.errors import CanaryError

SUFFIXES = (".yaml", ".yml", ".json")
RUN_DIR_ENV = "CANARY_RUN_DIR"
STATE_DIR_ENV = "CANARY_STATE_DIR"
CONTROL_ENV = "CANARY_CONTROL"
LISTEN_ENV = "CANARY_LISTEN"
NODE_ENV = "CANARY_NODE"
METRICS_ENV = "CANARY_METRICS"
HTTP_ENV = "CANARY_HTTP"
LOG_FORMAT_ENV = "CANARY_LOG_FORMAT"
ENGINE_ENV = "CANARY_ENGINE"
SOCKET_MODE_ENV = "CANARY_SOCKET_MODE"
# Beyond what a rollout file may have: what is larger is refused for its size, not read whole.
READ_LIMIT_BYTES = 8 << 20
# sockaddr_un.sun_path holds 108 bytes, its NUL included.
MAX_SOCKET_PATH_BYTES = 107

_UNIX = re.compile(r"unix:(?://)?(?P<path>/.+)")
_TCP = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]/]+):(?P<port>\d{1,5})")


class ConfigError(CanaryError):
    """A flag, a variable, a directory or a file that cannot be used as given."""


class File(NamedTuple):
    """One rollout file: the name people know it by, and its bytes."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Security:
    """What protects the control stream on host:port; a Unix socket is protected by its mode.

    `cert` and `key` show who this process is. A sidecar or a command knows its controller by `ca`
    and `name`; a controller knows its callers by `client_ca`, `token_file` or both. Files are read
    by whoever uses them, again and again: they may change at any time.
    """

    cert: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    client_ca: Path | None = None
    name: str = ""
    token_file: Path | None = None
    operator_token_file: Path | None = None
    allow_sidecars: tuple[str, ...] = ()
    allow_operators: tuple[str, ...] = ()
    max_connection_age_s: float = 3600.0
    insecure_plaintext: bool = False


NO_SECURITY = Security()


@dataclass(frozen=True, slots=True)
class Settings:
    """Where one canary process keeps its sockets and its state, and how it shows itself.

    `control`, `listen` and `http` are addresses as `address()` gives them, `metrics` is (host,
    port). Without `http` there is no HTTP API.
    """

    run_dir: Path
    state_dir: Path
    control: str
    listen: str
    node: str = ""
    metrics: tuple[str, int] | None = None
    log_format: str = "console"
    socket_mode: int = 0o600
    security: Security = NO_SECURITY
    http: str = ""
    force_keys: Path | None = None

    @property
    def own_control(self) -> str:
        """The controller's socket for whoever is on its machine, whatever `control` is."""
        if socket_path(self.control):
            return self.control
        return address(f"unix://{self.run_dir / 'control.sock'}")

    @property
    def admin(self) -> str:
        """The sidecar's own socket, for `canary status`."""
        return address(f"unix://{self.run_dir / 'sidecar.sock'}")

    @property
    def database(self) -> Path:
        """The controller's store."""
        return self.state_dir / "controller.sqlite"

    @property
    def outcomes_database(self) -> Path:
        """The controller's outcome rows."""
        return self.state_dir / "controller.outcomes.sqlite"

    @property
    def outcomes(self) -> Path:
        """Where the sidecar keeps outcomes until the controller has them."""
        return self.state_dir / "outcomes"

    @property
    def resources(self) -> Path:
        """The sidecar's last good resources."""
        return self.state_dir / "sidecar.resources"


def settings(  # noqa: PLR0913, PLR0917 - one parameter per flag
    run_dir: str | None = None,
    state_dir: str | None = None,
    control: str | None = None,
    listen: str | None = None,
    node: str | None = None,
    metrics: str | None = None,
    log_format: str | None = None,
    socket_mode: str = "0600",
    http: str | None = None,
    force_keys: str | None = None,
    **protection: Any,
) -> Settings:
    """Take what is given, else the platform's directories and sockets inside the run directory.

    `protection` is for `security()`. Raises ConfigError on an address that cannot be used.
    """
    run = Path(run_dir or default_run_dir()).absolute()
    state = Path(state_dir or default_state_dir()).absolute()
    return Settings(
        run_dir=run,
        state_dir=state,
        control=address(control or f"unix://{run / 'control.sock'}"),
        listen=_local(address(listen or f"unix://{run / 'ext_proc.sock'}")),
        node=node or os.uname().nodename,
        metrics=host_and_port(metrics) if metrics else None,
        log_format=log_format or "console",
        socket_mode=int(socket_mode, 8),
        security=security(**protection),
        http=http_address(http) if http else "",
        force_keys=_path(force_keys),
    )


def security(  # noqa: PLR0913 - one parameter per flag
    *,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    tls_ca: str | None = None,
    tls_client_ca: str | None = None,
    control_name: str | None = None,
    token_file: str | None = None,
    operator_token_file: str | None = None,
    allow_sidecar: Iterable[str] = (),
    allow_operator: Iterable[str] = (),
    max_connection_age: float = NO_SECURITY.max_connection_age_s,
    insecure_plaintext_control: bool = False,
) -> Security:
    """Take the flags of TLS and tokens. Raises ConfigError on a certificate without its key."""
    if bool(tls_cert) != bool(tls_key):
        raise ConfigError(
            "--tls-cert and --tls-key come together, and only one of them is given",
            remedy="give the certificate and the private key that belongs to it",
        )
    return Security(
        cert=_path(tls_cert),
        key=_path(tls_key),
        ca=_path(tls_ca),
        client_ca=_path(tls_client_ca),
        name=control_name or "",
        token_file=_path(token_file),
        operator_token_file=_path(operator_token_file),
        allow_sidecars=tuple(allow_sidecar),
        allow_operators=tuple(allow_operator),
        max_connection_age_s=max_connection_age,
        insecure_plaintext=insecure_plaintext_control,
    )


def _path(given: str | None) -> Path | None:
    return Path(given).absolute() if given else None


def default_run_dir() -> Path:
    """/run/canary for root, else the user's runtime directory."""
    if os.geteuid() == 0:
        return Path("/run/canary")
    return platformdirs.user_runtime_path("canary")


def default_state_dir() -> Path:
    """/var/lib/canary for root, else the user's state directory."""
    if os.geteuid() == 0:
        return Path("/var/lib/canary")
    return platformdirs.user_state_path("canary")


def address(text: str) -> str:
    """`unix:///path` or `host:port`, in the form gRPC takes. Raises ConfigError on the rest."""
    if unix := _UNIX.fullmatch(text):
        return f"unix://{_socket_path(unix['path'])}"
    tcp = _TCP.fullmatch(text)
    if not tcp or int(tcp["port"]) > 65535:
        raise ConfigError(
            f"address {text!r} is neither unix:///path nor host:port",
            remedy="write unix:///run/canary/control.sock or 127.0.0.1:18000",
        )
    return text


def http_address(text: str) -> str:
    """Take `unix:///path`, `host:port`, or a port alone, which is one on loopback."""
    return address(f"127.0.0.1:{text}" if text.isascii() and text.isdigit() else text)


def is_local(address: str) -> bool:
    """Whether an address is a Unix socket or on loopback: what goes there stays on this machine."""
    host = address.rpartition(":")[0]
    return socket_path(address) is not None or _is_loopback(host)


def _local(address: str) -> str:
    if not is_local(address):
        raise ConfigError(
            f"address {address!r} is not on loopback, and Envoy's side speaks plaintext only",
            remedy="Envoy and its sidecar share a machine or a pod: use a Unix socket or 127.0.0.1",
        )
    return address


def host_and_port(text: str) -> tuple[str, int]:
    """Split `host:port`, wherever that is. Raises ConfigError on anything else."""
    tcp = _TCP.fullmatch(text)
    if not tcp or int(tcp["port"]) > 65535:
        raise ConfigError(f"{text!r} is not host:port", remedy="write for example 127.0.0.1:9464")
    return tcp["host"].strip("[]"), int(tcp["port"])


def socket_path(address: str) -> Path | None:
    """Return the file of a Unix socket address; None for TCP."""
    unix = _UNIX.fullmatch(address)
    return Path(unix["path"]) if unix else None


def _socket_path(path: str) -> str:
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise ConfigError(
            f"socket path {path!r} is longer than the {MAX_SOCKET_PATH_BYTES} bytes Linux allows",
            remedy=f"choose a shorter directory with --run-dir or {RUN_DIR_ENV}",
        )
    return path


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def rollout_paths(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """List the files meant by `paths`: a file itself, a folder its *.yaml, *.yml and *.json.

    Sorted, without dotfiles (a mounted ConfigMap keeps its generations in those), symlinks
    followed. Raises ConfigError on a path that is not there or cannot be listed.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        try:
            found += _listing(path) if stat.S_ISDIR(path.stat().st_mode) else [path]
        except OSError as error:
            raise unreadable(path, error) from error
    return found


def rollout_files(paths: Iterable[str | os.PathLike[str]]) -> list[File]:
    """Read the files meant by `paths`. Raises ConfigError if one cannot be read."""
    return [read_file(path) for path in rollout_paths(paths)]


def read_file(path: Path) -> File:
    """Read one file. Raises ConfigError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return File(str(path), file.read(READ_LIMIT_BYTES))
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> ConfigError:
    """Say what the system refused, and about which path."""
    reason = (error.strerror or str(error)).lower()
    return ConfigError(f"{path}: {reason}", remedy="check the path and its permissions")


def _listing(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix in SUFFIXES and not path.name.startswith(".") and not path.is_dir()
    )
