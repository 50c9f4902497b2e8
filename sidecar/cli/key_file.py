"""The file with the keys of force tokens, for commands that sign or judge them."""

from pathlib import Path

from sidecar import config
from sidecar.errors import CanaryError
from sidecar.routing import force


def read(path: Path) -> tuple[force.Key, ...]:
    """Read a sidecar's --force-keys. Raises CanaryError."""
    try:
        return force.parse_keys(config.read_file(path).data.decode())
    except UnicodeDecodeError as error:
        raise CanaryError(f"{path} is not text", remedy="name the file of keys") from error
