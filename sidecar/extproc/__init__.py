"""The Envoy-facing service: an engine answers ext_proc and health until it is drained.

Engines differ in how bytes move, never in what they answer: all of them hand each message to the
same native table. `create` is the one place that chooses.
"""

from sidecar.errors import CanaryError
from sidecar.extproc.engine import SERVICE, Engine
from sidecar.extproc.grpcio_engine import GrpcioEngine
from sidecar.extproc.native_engine import NativeEngine

__all__ = ["DEFAULT_ENGINE", "ENGINES", "SERVICE", "Engine", "create"]

# The first one is the default.
ENGINES: dict[str, type[NativeEngine] | type[GrpcioEngine]] = {
    "native": NativeEngine,
    "grpcio": GrpcioEngine,
}
DEFAULT_ENGINE = next(iter(ENGINES))


def create(kind: str, address: str, *, socket_mode: int = 0o600) -> Engine:
    """Return an engine that will listen on `unix:///path` or `host:port` once it is started."""
    if kind not in ENGINES:
        raise CanaryError(f"there is no engine {kind!r}", remedy=f"use {' or '.join(ENGINES)}")
    return ENGINES[kind](address, socket_mode=socket_mode)
