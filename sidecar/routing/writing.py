"""The smallest pieces of a table's bytes: texts and shares of the hash line."""

import struct

_NO_SLOT = 255
_WHOLE_LINE = 1 << 64


def text(said: str | bytes) -> bytes:
    """Write a text after its length."""
    raw = said.encode() if isinstance(said, str) else said
    return struct.pack("<H", len(raw)) + raw


def shares(thresholds: tuple[int, ...]) -> bytes:
    """Write the slot that has the whole line (or 255), then each slot's share of it."""
    whole = thresholds.index(_WHOLE_LINE) if _WHOLE_LINE in thresholds else _NO_SLOT
    fitting = (min(share, _WHOLE_LINE - 1) for share in thresholds)
    return struct.pack(f"<B{len(thresholds)}Q", whole, *fitting)
