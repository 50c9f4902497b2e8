"""What is large leaves the event loop, for threads that give way; what is small stays."""

import asyncio
import os
import threading

import pytest

from sidecar.control.offload import off_loop_if


def here():
    ident = threading.get_native_id()
    return ident, os.getpriority(os.PRIO_PROCESS, ident)


def test_what_is_large_runs_elsewhere_and_gives_way():
    (thread, niceness), (small, own) = (
        asyncio.run(off_loop_if(large, here)) for large in (True, False)
    )
    assert small == threading.get_native_id() != thread
    assert niceness == min(own + 10, 19)


def test_what_it_raises_and_is_given_goes_through():
    def fail(what, *, why):
        raise ValueError(what, why)

    with pytest.raises(ValueError, match="'a', 'b'"):
        asyncio.run(off_loop_if(True, fail, "a", why="b"))
