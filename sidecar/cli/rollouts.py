"""Rollouts named on the command line, for commands that need them faultless."""

from collections.abc import Iterable
from os import PathLike

from sidecar import config, rollout
from sidecar.errors import CanaryError


def read(paths: Iterable[str | PathLike[str]]) -> list[rollout.Rollout]:
    """Read files and folders. Raises CanaryError if there is a mistake, or no rollout."""
    files = config.rollout_files(paths)
    reading = rollout.read(rollout.Source(file.name, file.data) for file in files)
    if reading.mistakes:
        text = "\n".join(map(str, reading.mistakes))
        raise CanaryError(f"the rollouts have mistakes\n{text}", remedy="mend them first")
    if not reading.declared:
        raise CanaryError("no rollout there", remedy="name files or folders that declare rollouts")
    return [declared.rollout for declared in reading.declared]
