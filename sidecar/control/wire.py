"""The gRPC options both ends share, and the listening side of an address.

A table of 10,000 rollouts is over 4 MB and must travel as one message to be swapped as one, so
the limits are raised on both ends. SO_REUSEPORT, which gRPC sets by default, would let two
processes share a port silently: it is off.
"""

import os
import socket
from pathlib import Path

import grpc

from sidecar import config
from sidecar.errors import CanaryError

ROLLOUT_SERVICE = "canary.v1.RolloutService"
SIDECAR_SERVICE = "canary.v1.SidecarService"
MAX_MESSAGE_BYTES = 128 << 20

_LIMITS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
]
_KEEPALIVE_MS = 10_000
SERVER_OPTIONS = [
    *_LIMITS,
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", _KEEPALIVE_MS),
    # Half the clients' interval, or their pings would be taken for abuse.
    ("grpc.http2.min_ping_interval_without_data_ms", _KEEPALIVE_MS // 2),
]
CLIENT_OPTIONS = [
    *_LIMITS,
    ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", _KEEPALIVE_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    # Each attempt has a channel of its own; a shared one would remember its own backoff.
    ("grpc.use_local_subchannel_pool", 1),
    # A proxy from the environment is meant for the web, never for this.
    ("grpc.enable_http_proxy", 0),
]


class AddressInUseError(CanaryError):
    """Somebody else serves there."""


def listen(
    server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None = None
) -> str:
    """Bind a server to an address and return it, with the port filled in if it was 0.

    A Unix socket is for its owner only (mode 0600). Raises AddressInUseError.
    """
    path = config.socket_path(address)
    if path is None:
        return f"{address.rpartition(':')[0]}:{_bind(server, address, credentials)}"
    claim(path)
    before = os.umask(0o177)
    try:
        _bind(server, address, None)
    finally:
        os.umask(before)
    return address


def claim(path: Path) -> None:
    """Make way for a Unix socket: a dead process's is removed. Raises AddressInUseError."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise _in_use(str(path), f"something is there ({error.strerror})") from error
    raise _in_use(str(path), "another canary is serving there")


def _bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    try:
        if credentials:
            return server.add_secure_port(address, credentials)
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise _in_use(address, "it cannot be bound") from error


def _in_use(address: str, what: str) -> AddressInUseError:
    return AddressInUseError(
        f"{address}: {what}",
        remedy="stop that process, or choose another place with --run-dir, --control or --listen",
    )
