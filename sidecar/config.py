"""Where things are: directories, addresses, and the bytes of rollout files.

One place turns what people type (flags, environment, nothing at all) into values the rooms can
trust. Plaintext stays on this machine: an address is a Unix socket or loopback, or it is refused.
"""

import ipaddress
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import platformdirs

from sidecar.errors import CanaryError

SUFFIXES = (".yaml", ".yml", ".json")
RUN_DIR_ENV = "CANARY_RUN_DIR"
STATE_DIR_ENV = "CANARY_STATE_DIR"
CONTROL_ENV = "CANARY_CONTROL"
LISTEN_ENV = "CANARY_LISTEN"
NODE_ENV = "CANARY_NODE"
METRICS_ENV = "CANARY_METRICS"
LOG_FORMAT_ENV = "CANARY_LOG_FORMAT"
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
class Settings:
    """Where one canary process keeps its sockets and its state, and how it shows itself.

    `control` and `listen` are addresses as `address()` gives them, `metrics` is (host, port).
    """

    run_dir: Path
    state_dir: Path
    control: str
    listen: str
    node: str = ""
    metrics: tuple[str, int] | None = None
    log_format: str = "console"

    @property
    def admin(self) -> str:
        """The sidecar's own socket, for `canary status`."""
        return address(f"unix://{self.run_dir / 'sidecar.sock'}")

    @property
    def database(self) -> Path:
        """The controller's store."""
        return self.state_dir / "controller.sqlite"

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
) -> Settings:
    """Take what is given, else the platform's directories and sockets inside the run directory.

    Raises ConfigError on an address that cannot be used.
    """
    run = Path(run_dir or default_run_dir()).absolute()
    state = Path(state_dir or default_state_dir()).absolute()
    return Settings(
        run_dir=run,
        state_dir=state,
        control=address(control or f"unix://{run / 'control.sock'}"),
        listen=address(listen or f"unix://{run / 'ext_proc.sock'}"),
        node=node or os.uname().nodename,
        metrics=host_and_port(metrics) if metrics else None,
        log_format=log_format or "console",
    )


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
    """`unix:///path` or `host:port` on loopback, in the form gRPC takes.

    Raises ConfigError on anything else: plaintext never leaves this machine.
    """
    if unix := _UNIX.fullmatch(text):
        return f"unix://{_socket_path(unix['path'])}"
    tcp = _TCP.fullmatch(text)
    if not tcp or int(tcp["port"]) > 65535:
        raise ConfigError(
            f"address {text!r} is neither unix:///path nor host:port",
            remedy="write unix:///run/canary/control.sock or 127.0.0.1:18000",
        )
    if not _is_loopback(tcp["host"]):
        raise ConfigError(
            f"address {text!r} is not on loopback, and this release speaks plaintext only",
            remedy="use a Unix socket or 127.0.0.1; TLS for other hosts comes in a later release",
        )
    return text


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
