"""The socket on which an engine listens: bound under a private name, published when it serves."""

import os
import socket
from contextlib import suppress
from pathlib import Path

from sidecar.errors import CanaryError

_UNIX = "unix://"
_BACKLOG = 1024


class Listener:
    """Where Envoy finds an engine: `unix:///path` or `host:port`."""

    def __init__(self, address: str, socket_mode: int) -> None:
        self.address = address
        self._mode = socket_mode

    @property
    def is_unix(self) -> bool:
        """Whether only this machine's permitted users can reach it."""
        return self.address.startswith(_UNIX)

    @property
    def path(self) -> Path:
        """Where the Unix socket stands, if the address is one."""
        return Path(self.address.removeprefix(_UNIX))

    @property
    def private_path(self) -> Path:
        """Where it is bound, until it may be seen."""
        return self.path.with_name(f".{self.path.name}.{os.getpid()}")

    def open(self) -> socket.socket:
        """Return the listening socket, not yet to be found. Raises CanaryError."""
        try:
            listener = self._bound()
        except OSError as error:
            raise self.unavailable() from error
        listener.setblocking(False)
        return listener

    def _bound(self) -> socket.socket:
        if not self.is_unix:
            host, _, port = self.address.rpartition(":")
            host = host.strip("[]")
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            return socket.create_server((host, int(port)), family=family, backlog=_BACKLOG)
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(str(self.private_path))
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
        return listener

    def unavailable(self) -> CanaryError:
        """Say that the address cannot be had."""
        return CanaryError(
            f"cannot listen on {self.address}",
            remedy="another process has it, or its folder is missing: choose another --listen",
        )

    def publish(self) -> None:
        """Give the socket its name only now: nobody connects before it has its mode and serves."""
        if self.is_unix:
            self.private_path.chmod(self._mode)
            self.private_path.rename(self.path)

    def withdraw(self) -> None:
        """Take the name away: whoever comes next finds the next process, or nobody."""
        if self.is_unix:
            with suppress(FileNotFoundError):
                self.path.unlink()
