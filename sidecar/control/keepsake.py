"""The sidecar's last good resources on disk, to start from while no controller is there.

The file is replaced whole (temporary file, fsync, rename) and begins with the checksum of the
rest; one that is damaged is reported and never half believed. It holds resources, never table
bytes: those are private to one build.
"""

import hashlib
import os
import tempfile
from pathlib import Path

from google.protobuf.message import DecodeError

from sidecar.control import following
from sidecar.control.following import Holdings
from sidecar.control.pb import control_pb2 as pb
from sidecar.errors import CanaryError

_MAGIC = b"canary-resources/1 "


class KeepsakeError(CanaryError):
    """The file cannot be used, or not be written."""


def pack(holdings: Holdings) -> pb.StoredResources:
    """Return what is held as one message."""
    return pb.StoredResources(
        resources=[
            pb.StoredResource(name=name, version=held.version, resource=held.data)
            for name, held in holdings.resources.items()
        ]
    )


def unpack(stored: pb.StoredResources) -> Holdings:
    """Return what a message holds, not read yet."""
    return following.restore((r.name, r.version, r.resource) for r in stored.resources)


def save(path: Path, holdings: Holdings) -> None:
    """Replace the file; when this returns it is on disk. Raises KeepsakeError."""
    body = pack(holdings).SerializeToString()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace(path, _MAGIC + _checksum(body) + b"\n" + body)
    except OSError as error:
        raise KeepsakeError(
            f"{path} cannot be written: {error.strerror}",
            remedy="check its permissions and the disk's space; traffic goes on from memory",
        ) from error


def load(path: Path) -> Holdings | None:
    """Read the file; None if there is none. Raises KeepsakeError if it is damaged."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _damaged(path, str(error.strerror)) from error
    head, _, body = data.partition(b"\n")
    if head != _MAGIC + _checksum(body):
        raise _damaged(path, "its checksum does not fit")
    try:
        return unpack(pb.StoredResources.FromString(body))
    except DecodeError as error:
        raise _damaged(path, str(error)) from error


def replace(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; when this returns it is on disk. Raises OSError."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def _damaged(path: Path, why: str) -> KeepsakeError:
    return KeepsakeError(
        f"{path} is damaged and ignored: {why}",
        remedy="nothing to do: the next update from a controller replaces it",
    )
