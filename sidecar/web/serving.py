"""The listening end of the HTTP API: one address, a Unix socket or host:port, TLS where given."""

import os
import socket
import ssl
from pathlib import Path

from aiohttp import web

from sidecar import config
from sidecar.errors import CanaryError


class Server:
    """Serves one application at one address until stopped."""

    def __init__(
        self, application: web.Application, address: str, tls: ssl.SSLContext | None
    ) -> None:
        self.address = address
        self._tls = tls
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)

    async def start(self) -> None:
        """Listen. Raises CanaryError if the address cannot be had."""
        await self._runner.setup()
        try:
            if path := config.socket_path(self.address):
                await web.SockSite(self._runner, _socket(path)).start()
                return
            host, port = config.host_and_port(self.address)
            await web.TCPSite(self._runner, host, port, ssl_context=self._tls).start()
        except OSError as error:
            raise CanaryError(
                f"the HTTP API cannot be served at {self.address}: {error.strerror or error}",
                remedy="choose another --http",
            ) from error
        bound = self._runner.addresses[0][1]
        self.address = f"{self.address.rpartition(':')[0]}:{bound}"

    async def stop(self) -> None:
        """Answer what was begun, then stop listening."""
        await self._runner.cleanup()
        if path := config.socket_path(self.address):
            path.unlink(missing_ok=True)


def _socket(path: Path) -> socket.socket:
    """Bind a socket that is its owner's alone from the first moment."""
    made = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        made.bind(str(path))
    finally:
        os.umask(before)
    return made
