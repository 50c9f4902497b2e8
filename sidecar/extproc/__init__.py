"""The Envoy-facing service: an engine answers ext_proc and health until it is drained.

Engines differ in how bytes move, never in what they answer: all of them hand each message to the
same native table. `create` is the one place that chooses, and it never chooses another one than was
asked for: whoever asks for `native` where it cannot run is told why.
"""

from collections.abc import Callable

from sidecar.errors import CanaryError
from sidecar.extproc.engine import SERVICE, Engine
from sidecar.extproc.grpcio_engine import GrpcioEngine

__all__ = ["DEFAULT_ENGINE", "ENGINES", "SERVICE", "Engine", "create"]

_TRANSPORT = "sidecar.extproc._transport"


def _native(address: str, *, socket_mode: int) -> Engine:
    try:
        from sidecar.extproc.native_engine import NativeEngine  # noqa: PLC0415 - may not be there
    except ImportError as error:
        raise _unavailable(error) from error
    return NativeEngine(address, socket_mode=socket_mode)


def _unavailable(error: ImportError) -> CanaryError:
    if isinstance(error, ModuleNotFoundError) and error.name == _TRANSPORT:
        why = "it was built without its transport (CANARY_NO_TRANSPORT, or a copy of the sources)"
        remedy = "install libnghttp2-dev and build again, or install a wheel"
    else:
        why = str(error)
        remedy = "install the library it names (Debian, Ubuntu: libnghttp2-14), or a wheel"
    return CanaryError(
        f"the engine 'native' is not available: {why}",
        remedy=f"{remedy}; or ask for the slower one: --engine grpcio (CANARY_ENGINE=grpcio)",
    )


# The first one is the default.
ENGINES: dict[str, Callable[..., Engine]] = {"native": _native, "grpcio": GrpcioEngine}
DEFAULT_ENGINE = next(iter(ENGINES))


def create(kind: str, address: str, *, socket_mode: int = 0o600) -> Engine:
    """Return an engine that will listen on `unix:///path` or `host:port` once it is started.

    Raises CanaryError if there is no such engine, or this installation cannot run it.
    """
    if kind not in ENGINES:
        raise CanaryError(f"there is no engine {kind!r}", remedy=f"use {' or '.join(ENGINES)}")
    return ENGINES[kind](address, socket_mode=socket_mode)
