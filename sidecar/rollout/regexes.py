"""Regular expressions: RE2 on both sides, in linear time and bounded memory.

The whole value must match, as in Envoy's `safe_regex`; `.*` stands for the rest. UTF-8; bytes that
are not match nothing.
"""

from functools import lru_cache
from typing import Any

import re2

from sidecar.rollout import names


# An expression is asked for when the document is read, when its route is made, and by the twin.
@lru_cache(maxsize=1024)
def compiled(pattern: bytes) -> Any:
    """Compile a pattern. Raises re2.error."""
    options = re2.Options()
    options.max_mem = names.REGEX_MEMORY
    options.log_errors = False
    return re2.compile(pattern, options)


def matches(pattern: bytes, text: bytes) -> bool:
    """Whether the whole text matches."""
    return compiled(pattern).fullmatch(text) is not None


def mistake(pattern: bytes) -> str | None:
    """Say what is wrong with a pattern, in RE2's words; None if nothing is."""
    if len(pattern) > names.MAX_REGEX_BYTES:
        return f"longer than {names.MAX_REGEX_BYTES} bytes"
    try:
        compiled(pattern)
    except re2.error as error:
        said = error.args[0] if error.args else error
        return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    return None
