"""What is large leaves the event loop: the same loop may be answering Envoy."""

import asyncio
import ctypes
import gc
from collections.abc import Callable
from typing import ParamSpec, TypeVar

# About a millisecond's work each.
MANY = 500
LARGE_BYTES = 16 << 10

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def off_loop_if(
    large: bool,  # noqa: FBT001 - reads as the name says
    call: Callable[_P, _T],
    *args: _P.args,
    **kwargs: _P.kwargs,
) -> _T:
    """Call in a thread what would hold the event loop up for long, everything else right here."""
    return await asyncio.to_thread(call, *args, **kwargs) if large else call(*args, **kwargs)


def give_memory_back() -> None:
    """Return to the system what a large change needed while it was made.

    What threads allocated and freed stays in their arenas otherwise. Where the C library has no
    malloc_trim(3), it stays.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
