"""What is large leaves the event loop: the same loop may be answering Envoy.

It goes to threads that give way: on a machine whose processors are all busy, requests come first.
"""

import asyncio
import ctypes
import gc
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

# About a millisecond's work each.
MANY = 500
LARGE_BYTES = 16 << 10

_GIVES_WAY, _LAST = 10, 19
_P = ParamSpec("_P")
_T = TypeVar("_T")


def give_way() -> None:
    """Let all other threads have the processors before this one, where the system can say so."""
    with suppress(OSError, AttributeError):
        # Linux keeps a nice value per thread (sched(7)).
        thread = threading.get_native_id()
        niceness = os.getpriority(os.PRIO_PROCESS, thread) + _GIVES_WAY
        os.setpriority(os.PRIO_PROCESS, thread, min(niceness, _LAST))


_behind = ThreadPoolExecutor(thread_name_prefix="large", initializer=give_way)


async def off_loop_if(
    large: bool,  # noqa: FBT001 - reads as the name says
    call: Callable[_P, _T],
    *args: _P.args,
    **kwargs: _P.kwargs,
) -> _T:
    """Call in a thread what would hold the event loop up for long, everything else right here."""
    if not large:
        return call(*args, **kwargs)
    run = partial(copy_context().run, call, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_behind, run)


def give_memory_back() -> None:
    """Return to the system what a large change needed while it was made.

    What threads allocated and freed stays in their arenas otherwise. Where the C library has no
    malloc_trim(3), it stays.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
