# cython: freethreading_compatible = False
"""Glue between Python and the native transport: hand tables over, read counters, end it.

No thread of the transport ever comes here: requests never touch Python.
"""

from libc.errno cimport errno
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from libc.string cimport memset

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.pycapsule cimport PyCapsule_GetPointer

import os


cdef extern from "sc_server.h" nogil:
    ctypedef struct sc_str:
        const uint8_t *data
        size_t len

    ctypedef struct sc_table:
        pass

    ctypedef struct sc_variant:
        sc_str name

    ctypedef struct sc_rollout:
        sc_str name
        const sc_variant *variants
        uint8_t n_variants

    ctypedef struct sc_tally_cell:
        const sc_rollout *rollout
        uint32_t reason
        uint8_t slot

    ctypedef struct sc_scratch:
        pass

    ctypedef struct sc_edition:
        const sc_table *table
        uint64_t number
        size_t n_threads
        sc_scratch **scratches

    ctypedef struct sc_sampling:
        bint on
        bint follow_parent
        bint always
        uint64_t bound

    ctypedef struct sc_sample:
        uint64_t edition
        uint32_t rollout
        uint32_t reason
        uint8_t slot

    ctypedef struct sc_conn_counts:
        uint64_t calls
        uint64_t replies
        uint64_t refused
        uint64_t resets_unanswered
        uint64_t protocol_errors

    ctypedef struct sc_extproc_counts:
        uint64_t answers
        uint64_t malformed
        uint64_t not_ready
        uint64_t *force_refused
        uint64_t *durations
        uint64_t duration_sum_ns

    ctypedef struct sc_rows:
        pass

    ctypedef struct sc_server_options:
        size_t n_threads
        int listener
        bint trusted
        sc_sampling sampling
        int alarm
        uint32_t greeting_ms
        uint32_t stall_ms
        sc_rows *rows

    ctypedef struct sc_server_counts:
        sc_conn_counts conns
        sc_extproc_counts extproc
        uint64_t wakeups
        uint64_t connections
        uint64_t rejected
        uint64_t stalled
        uint64_t samples_dropped

    ctypedef struct sc_server:
        pass

    const uint64_t *sc_duration_bounds_ns
    int SC_DURATION_BOUNDS
    int SC_MAX_THREADS

    int sc_edition_new(sc_edition **out, const sc_table *table, uint64_t number, size_t n_threads)
    void sc_edition_del(sc_edition *edition)
    uint64_t sc_scratch_tally(
        const sc_scratch *scratch, const sc_rollout *rollout, uint8_t slot, uint32_t reason)
    bint sc_tally_next(const sc_table *table, sc_tally_cell *cell)
    sc_str sc_reason_name(const sc_rollout *rollout, uint32_t reason)
    int SC_TOKEN_REFUSALS
    sc_str sc_token_refusal_name(int why)
    sc_str sc_table_version(const sc_table *table)
    uint32_t sc_table_len(const sc_table *table)
    const sc_rollout *sc_table_rollout(const sc_table *table, uint32_t at)

    int sc_server_new(sc_server **out, const sc_server_options *options)
    sc_edition *sc_server_del(sc_server *server)
    sc_edition *sc_server_exchange(sc_server *server, sc_edition *next)
    bint sc_server_reads(const sc_server *server, const sc_edition *edition)
    void sc_server_set_serving(sc_server *server, bint serving)
    bint sc_server_take_sample(sc_server *server, sc_sample *out)
    void sc_server_drain(sc_server *server)
    size_t sc_server_open_connections(const sc_server *server)
    void sc_server_count(const sc_server *server, sc_server_counts *out)

cdef extern from "sc_span.h" nogil:
    ctypedef struct sc_span_template:
        sc_str common
        sc_str unit

    size_t sc_span_size(const sc_sample *sample, const sc_span_template *known)
    void sc_span_write(const sc_sample *sample, const sc_span_template *known, uint8_t *out)

cdef extern from "nghttp2/nghttp2.h" nogil:
    ctypedef struct nghttp2_info:
        const char *version_str

    nghttp2_info *nghttp2_version(int least_version)


MAX_THREADS = SC_MAX_THREADS
BOUNDS_NS = tuple(sc_duration_bounds_ns[i] for i in range(SC_DURATION_BOUNDS))
NGHTTP2_VERSION = nghttp2_version(0).version_str.decode()


cdef inline str text(sc_str view):
    return PyBytes_FromStringAndSize(<const char *>view.data, <Py_ssize_t>view.len).decode()


cdef inline sc_str view_of(bytes held):
    return sc_str(<const uint8_t *>PyBytes_AS_STRING(held), <size_t>PyBytes_GET_SIZE(held))


cdef bytes span_of(const sc_sample *sample, bytes common, bytes unit):
    cdef sc_span_template known = sc_span_template(view_of(common), view_of(unit))
    cdef bytes span = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>sc_span_size(sample, &known))
    sc_span_write(sample, &known, <uint8_t *>PyBytes_AS_STRING(span))
    return span


cdef const sc_table *table_of(object table) except NULL:
    return <const sc_table *>PyCapsule_GetPointer(table.capsule(), b"sc_table")


cdef class Server:
    """The running transport. Every method needs the GIL, none of them waits for a request."""

    cdef sc_server *server
    cdef sc_edition *current
    cdef list retired  # addresses of editions that may still be read
    cdef dict tables  # by number of edition, as long as anything may still ask for it
    cdef set past  # numbers of editions that are gone, but whose samples may not be
    cdef dict earlier  # decisions of editions that are gone
    cdef dict templates  # of spans: by (edition, rollout, slot, reason)
    cdef size_t threads
    cdef uint64_t number
    cdef bint samples_wanted
    cdef sc_server_counts last  # what was counted, once it is closed
    cdef object rows  # as long as the server, which writes into it

    def __cinit__(
        self, int listener, size_t threads, bint trusted, sampling, rows=None,
        uint32_t greeting_ms=0, uint32_t stall_ms=0, int alarm=0,
    ):
        cdef sc_server_options options
        if not 1 <= threads <= SC_MAX_THREADS:
            raise ValueError(f"1 to {SC_MAX_THREADS} threads")
        self.retired, self.tables, self.past = [], {}, set()
        self.earlier, self.templates = {}, {}
        self.threads = threads
        self.samples_wanted = sampling is not None
        options.n_threads, options.listener, options.trusted = threads, listener, trusted
        options.sampling = sc_sampling(False, False, False, 0)
        options.greeting_ms, options.stall_ms = greeting_ms, stall_ms
        options.alarm = alarm
        self.rows = rows
        options.rows = NULL
        if rows is not None:
            options.rows = <sc_rows *>PyCapsule_GetPointer(rows.capsule(), b"sc_rows")
        if sampling is not None:
            follow_parent, always, bound = sampling
            options.sampling = sc_sampling(True, follow_parent, always, bound)
        if sc_server_new(&self.server, &options) < 0:
            raise OSError(errno, os.strerror(errno))

    def __dealloc__(self):
        # Reached with a NULL server when __cinit__ raised, or after close().
        self.end()

    cdef void end(self) noexcept:
        cdef sc_server *server = self.server
        if server == NULL:
            return
        # Other threads may ask while the workers end: they find the last counts.
        sc_server_count(server, &self.last)
        self.server = NULL
        self.current = NULL
        with nogil:
            sc_edition_del(sc_server_del(server))
        cdef size_t address
        for address in self.retired:
            sc_edition_del(<sc_edition *>address)
        self.retired = []

    def close(self) -> None:
        self.collect()
        if self.current != NULL:
            self.remember(self.current)
        self.end()

    cdef void count(self, sc_server_counts *out) noexcept:
        if self.server == NULL:
            out[0] = self.last
        else:
            sc_server_count(self.server, out)

    def swap(self, table) -> None:
        cdef const sc_table *native = table_of(table)
        cdef sc_edition *edition = NULL
        self.alive()
        if sc_edition_new(&edition, native, self.number + 1, self.threads) < 0:
            raise MemoryError
        self.number += 1
        self.tables[self.number] = table
        cdef sc_edition *before = sc_server_exchange(self.server, edition)
        self.current = edition
        if before != NULL:
            self.retired.append(<size_t>before)
        self.collect()

    cdef int alive(self) except -1:
        if self.server == NULL:
            raise ValueError("the server is closed")
        return 0

    def collect(self) -> int:
        """Free the tables that nobody reads any more; return how many still wait."""
        cdef size_t address
        waiting = []
        for address in self.retired:
            edition = <sc_edition *>address
            if self.server != NULL and sc_server_reads(self.server, edition):
                waiting.append(address)
                continue
            self.remember(edition)
            if self.samples_wanted:
                self.past.add(edition.number)
            else:
                del self.tables[edition.number]
            sc_edition_del(edition)
        self.retired = waiting
        return len(waiting)

    cdef remember(self, sc_edition *edition):
        self.add(edition, self.earlier)

    cdef add(self, sc_edition *edition, dict into):
        cdef sc_tally_cell cell
        cdef size_t i
        cdef uint64_t count
        memset(&cell, 0, sizeof(cell))
        while sc_tally_next(edition.table, &cell):
            count = 0
            for i in range(edition.n_threads):
                count += sc_scratch_tally(
                    edition.scratches[i], cell.rollout, cell.slot, cell.reason)
            if count > 0:
                key = (
                    text(cell.rollout.name),
                    text(cell.rollout.variants[cell.slot].name),
                    text(sc_reason_name(cell.rollout, cell.reason)),
                )
                into[key] = into.get(key, 0) + count

    def decisions(self) -> dict[tuple[str, str, str], int]:
        self.collect()
        counted = dict(self.earlier)
        cdef size_t address
        for address in self.retired:
            self.add(<sc_edition *>address, counted)
        if self.current != NULL:
            self.add(self.current, counted)
        return counted

    def counters(self) -> dict[str, int]:
        cdef sc_server_counts c
        cdef int why
        self.count(&c)
        return {
            "streams": c.conns.calls,
            "answers": c.extproc.answers,
            "malformed": c.extproc.malformed,
            "not_ready": c.extproc.not_ready,
            "refused": c.conns.refused,
            "resets_unanswered": c.conns.resets_unanswered,
            "protocol_errors": c.conns.protocol_errors,
            "connections": c.connections,
            "rejected": c.rejected,
            "stalled": c.stalled,
            "wakeups": c.wakeups,
            "samples_dropped": c.samples_dropped,
            **{
                "force_" + text(sc_token_refusal_name(why)): c.extproc.force_refused[why]
                for why in range(1, SC_TOKEN_REFUSALS)
            },
        }

    def durations(self) -> tuple[tuple[int, ...], int]:
        cdef sc_server_counts c
        self.count(&c)
        counts = tuple(c.extproc.durations[i] for i in range(SC_DURATION_BOUNDS + 1))
        return counts, c.extproc.duration_sum_ns

    def spans(self, int32_t limit, template) -> list[bytes]:
        cdef sc_sample s
        self.alive()
        # What is past now has its last samples in the rings: emptied once, none can follow.
        settled = list(self.past)
        taken = []
        while len(taken) < limit and sc_server_take_sample(self.server, &s):
            key = (s.edition, s.rollout, s.slot, s.reason)
            parts = self.templates.get(key)
            if parts is None:
                parts = self.templates[key] = template(*self.names(&s))
            taken.append(span_of(&s, parts[0], parts[1]))
        if settled and len(taken) < limit:
            for number in settled:
                del self.tables[number]
                self.past.discard(number)
            self.templates = {k: parts for k, parts in self.templates.items() if k[0] in self.tables}
        return taken

    cdef tuple names(self, sc_sample *s):
        cdef const sc_table *table = table_of(self.tables[s.edition])
        cdef const sc_rollout *rollout = sc_table_rollout(table, s.rollout)
        return (
            text(rollout.name),
            text(rollout.variants[s.slot].name),
            text(sc_reason_name(rollout, s.reason)),
            text(sc_table_version(table)),
        )

    def set_serving(self, bint serving) -> None:
        self.alive()
        sc_server_set_serving(self.server, serving)

    def drain(self) -> None:
        self.alive()
        sc_server_drain(self.server)

    @property
    def open_connections(self) -> int:
        return sc_server_open_connections(self.server) if self.server != NULL else 0
