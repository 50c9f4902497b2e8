"""Durations on the command line, written as in documents."""

from pydantic import TypeAdapter, ValidationError

from sidecar.errors import CanaryError
from sidecar.rollout import measures


def seconds(option: str, text: str) -> float:
    """Read a duration such as 1h30m. Raises CanaryError naming the option."""
    try:
        kept: str = TypeAdapter(measures.Duration).validate_python(text)
    except ValidationError as error:
        raise CanaryError(
            f"{option} {text!r} is not a duration", remedy="write such as 30s, 10m or 1h30m"
        ) from error
    return measures.duration(kept).total_seconds()
