"""The door to native/check: C programs and a library, built when a test first wants them."""

import ctypes
import functools
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHECK = ROOT / "native" / "check"


def make(target, **variables):
    """Run one target of native/check; return what it printed, or fail with all it said."""
    words = [f"{name}={value}" for name, value in variables.items()]
    # Not a part of the make that may have started these tests.
    env = {k: v for k, v in os.environ.items() if k not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    done = subprocess.run(
        ["make", "--no-print-directory", "-C", str(CHECK), target, *words],
        capture_output=True,
        text=True,
        check=False,
        env=env,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Str(ctypes.Structure):
    """sc_str."""

    _fields_ = [("data", ctypes.c_char_p), ("len", ctypes.c_size_t)]


class Sampling(ctypes.Structure):
    """sc_sampling."""

    _fields_ = [
        *[(name, ctypes.c_bool) for name in ("on", "follow_parent", "always")],
        ("bound", ctypes.c_uint64),
    ]


class SpanContext(ctypes.Structure):
    """sc_span_context."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("trace_high", "trace_low", "parent")]


class Sample(ctypes.Structure):
    """sc_sample."""

    _fields_ = [
        *[(name, ctypes.c_uint64) for name in ("edition", "second", "end_ns", "took_ns")],
        *[(name, ctypes.c_uint64) for name in ("trace_high", "trace_low", "parent", "span")],
        *[("rollout", ctypes.c_uint32), ("reason", ctypes.c_uint32)],
        *[("slot", ctypes.c_uint8), ("tracestate_len", ctypes.c_uint8)],
        ("tracestate", ctypes.c_char * 160),
    ]


class SpanTemplate(ctypes.Structure):
    """sc_span_template."""

    _fields_ = [(name, Str) for name in ("common", "unit")]


@functools.cache
def door():
    """Load the ring, the sampling and the spans as a library of their own."""
    make("door")
    library = ctypes.CDLL(str(ROOT / "build" / "check" / "door.so"))
    library.sc_sampling_decide.argtypes = [
        *[ctypes.POINTER(Sampling), Str, ctypes.POINTER(ctypes.c_uint64)],
        ctypes.POINTER(SpanContext),
    ]
    library.sc_sampling_decide.restype = ctypes.c_bool
    library.sc_ring_new.argtypes = [ctypes.POINTER(ctypes.c_void_p)]
    library.sc_ring_del.argtypes = library.sc_ring_commit.argtypes = [ctypes.c_void_p]
    library.sc_ring_commit.restype = ctypes.c_bool
    library.sc_ring_claim.argtypes = [ctypes.c_void_p]
    library.sc_ring_claim.restype = ctypes.POINTER(Sample)
    library.sc_ring_take.argtypes = [ctypes.c_void_p, ctypes.POINTER(Sample)]
    library.sc_ring_take.restype = ctypes.c_bool
    span = [ctypes.POINTER(Sample), ctypes.POINTER(SpanTemplate)]
    library.sc_span_size.argtypes = span
    library.sc_span_size.restype = ctypes.c_size_t
    library.sc_span_write.argtypes = [*span, ctypes.c_char_p]
    library.sc_span_write.restype = None
    return library
