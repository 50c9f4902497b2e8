# cython: freethreading_compatible = False
"""Rows of cells become messages, by a program that sidecar/routing/encoding.py makes of columns.

As in sc_answer.c a message is written backwards, from the end of the buffer: when the length of a
sub-message is needed, its bytes already stand. encoding.py has the same in Python, which is the
specification, and takes the rows that this one leaves to it.
"""

from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE


cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL


# The operations, in the order of encoding.py's names for them.
cdef enum:
    CELL
    CONST
    OPEN
    CLOSE
    UNLESS
    DROP
    PLAIN
    DEFAULT

cdef enum:
    DEEPEST = 96

ctypedef struct step:
    int kind, a, b


cdef class Writer:
    """Writes messages by one program. Not for several threads at once."""

    cdef step *steps
    cdef Py_ssize_t n_steps, cap, at
    cdef uint8_t *buffer
    cdef list texts

    def __cinit__(self, list program not None, list texts not None):
        self.texts = texts
        self.n_steps = len(program)
        self.steps = <step *>malloc((self.n_steps + 1) * sizeof(step))
        self.cap = 4096
        self.buffer = <uint8_t *>malloc(self.cap)
        if self.steps == NULL or self.buffer == NULL:
            raise MemoryError
        for i, (kind, a, b) in enumerate(program):
            self.steps[i] = step(kind, a, b)

    def __dealloc__(self):
        free(self.steps)
        free(self.buffer)

    cdef int put(self, const char *data, Py_ssize_t size) except -1:
        cdef Py_ssize_t used = self.cap - self.at
        cdef Py_ssize_t cap = self.cap
        cdef uint8_t *grown
        if size > self.at:
            while cap - used < size:
                cap *= 2
            grown = <uint8_t *>malloc(cap)
            if grown == NULL:
                raise MemoryError
            memcpy(grown + cap - used, self.buffer + self.at, used)
            free(self.buffer)
            self.buffer, self.cap, self.at = grown, cap, cap - used
        self.at -= size
        memcpy(self.buffer + self.at, data, size)
        return 0

    cdef int put_length(self, Py_ssize_t length, int tag) except -1:
        cdef char head[12]
        cdef int size = 1
        head[0] = <char>tag
        while length > 127:
            head[size] = <char>(length & 127 | 128)
            length >>= 7
            size += 1
        head[size] = <char>length
        return self.put(head, size + 1)

    def write(self, list row not None) -> bytes | None:
        cdef Py_ssize_t marks[DEEPEST]
        cdef int depth = 0
        cdef Py_ssize_t i = 0
        cdef Py_ssize_t size = 0
        cdef const char *data
        cdef bytes text
        cdef step *one
        self.at = self.cap
        while i < self.n_steps:
            one = &self.steps[i]
            i += 1
            if one.kind == OPEN:
                if depth == DEEPEST:
                    return None
                # From the end, which stays where it is when the buffer grows.
                marks[depth] = self.cap - self.at
                depth += 1
            elif one.kind == CLOSE:
                depth -= 1
                self.put_length(self.cap - self.at - marks[depth], one.a)
            elif one.kind == CONST:
                text = self.texts[one.a]
                self.put(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
            elif one.kind == DROP:
                if self.cap - self.at == marks[depth - 1]:
                    depth -= one.a
                    i += one.b
            else:
                data = PyUnicode_AsUTF8AndSize(row[one.a], &size)
                if one.kind == CELL:
                    self.put(data, size)
                elif one.kind == UNLESS and size == 0:
                    i += one.b
                elif one.kind == PLAIN and size > 0 and data[0] == b"[":
                    return None
                elif one.kind == DEFAULT and size == 0:
                    text = self.texts[one.b]
                    self.put(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
        return PyBytes_FromStringAndSize(<char *>self.buffer + self.at, self.cap - self.at)
