# cython: freethreading_compatible = False
"""Glue between Python and the C core: check types, call C, turn error codes into exceptions."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from libc.string cimport memset

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.pycapsule cimport PyCapsule_New


cdef extern from "sc_answer.h" nogil:
    int SC_ERR_NOMEM

    ctypedef struct sc_str:
        const uint8_t *data
        size_t len

    ctypedef struct sc_digest:
        uint64_t low
        uint64_t high

    ctypedef struct sc_variant:
        sc_str name

    ctypedef struct sc_split:
        pass

    ctypedef struct sc_source:
        int kind
        sc_str name

    ctypedef struct sc_input:
        int kind
        uint8_t n_names
        const sc_str *names

    ctypedef struct sc_inputs:
        sc_input *inputs
        uint32_t count

    ctypedef struct sc_parts:
        sc_inputs inputs

    ctypedef struct sc_test:
        uint32_t input

    ctypedef struct sc_rules:
        const sc_test *tests
        uint32_t n_tests

    ctypedef struct sc_rollout:
        sc_str name
        const sc_source *sources
        const sc_variant *variants
        sc_split split
        sc_rules rules
        uint8_t n_sources
        uint8_t n_variants

    ctypedef struct sc_decision:
        const sc_rollout *rollout
        uint64_t position
        uint64_t second
        uint32_t reason
        uint8_t slot

    ctypedef struct sc_table:
        pass

    ctypedef struct sc_span:
        uint32_t at
        const uint8_t *begin
        const uint8_t *end

    ctypedef struct sc_table_sizes:
        uint32_t rollouts
        uint32_t hosts
        uint32_t sources
        uint32_t variants

    ctypedef enum sc_message_kind:
        SC_MESSAGE_REQUEST_HEADERS

    ctypedef struct sc_request:
        sc_message_kind kind

    ctypedef struct sc_matches:
        uint32_t *at

    ctypedef struct sc_scratch:
        sc_request request
        sc_matches matches
        sc_decision *decisions
        size_t n_decisions

    ctypedef struct sc_tally_cell:
        const sc_rollout *rollout
        uint32_t reason
        uint8_t slot

    int sc_table_new(sc_table **out, sc_str data, const char **reason)
    void sc_table_del(sc_table *table)
    sc_str sc_table_version(const sc_table *table)
    uint32_t sc_table_len(const sc_table *table)
    sc_span sc_table_span(const sc_table *table, sc_str name)
    sc_str sc_table_body(const sc_table *table)
    sc_table_sizes sc_table_announced(const sc_table *table)
    const sc_rollout *sc_table_rollout(const sc_table *table, uint32_t at)
    const sc_parts *sc_table_parts(const sc_table *table)
    uint8_t sc_decide_slot(
        const sc_rollout *rollout, const sc_split *split, uint64_t position, uint64_t second)
    int sc_request_parse(sc_request *request, sc_str message)
    uint32_t sc_reasons(const sc_rollout *rollout)
    sc_str sc_reason_name(const sc_rollout *rollout, uint32_t reason)
    int SC_TOKEN_REFUSALS
    sc_str sc_token_refusal_name(int refusal)
    int sc_scratch_init(sc_scratch *scratch, const sc_table *table)
    uint64_t sc_scratch_tally(
        const sc_scratch *scratch, const sc_rollout *rollout, uint8_t slot, uint32_t reason)
    uint64_t sc_scratch_refused(const sc_scratch *scratch, int why)
    bint sc_tally_next(const sc_table *table, sc_tally_cell *cell)
    int sc_answer_decide(const sc_table *table, int64_t now_s, sc_scratch *scratch)
    int sc_answer(
        const sc_table *table, sc_str message, int64_t now_s, sc_scratch *scratch, sc_str *out)
    void sc_scratch_free(sc_scratch *scratch)

cdef extern from "sc_hash.h" nogil:
    sc_digest sc_hash(const sc_str *parts, size_t n_parts)


cdef extern from "sc_logs.h" nogil:
    enum:
        SC_MAX_LOGS
        SC_MAX_LOG_NAME

    ctypedef struct sc_log:
        pass

    ctypedef struct sc_logs:
        sc_log *logs

    sc_log *sc_logs_open(sc_logs *logs, sc_str message)
    void sc_logs_close(sc_logs *logs, sc_log *log)
    size_t sc_logs_name(sc_logs *logs, size_t at, uint8_t *into)


cdef extern from "sc_rows.h" nogil:
    enum:
        SC_CELL_ERRORS
        SC_CELLS

    ctypedef enum sc_rows_count:
        pass

    ctypedef struct sc_rows:
        pass

    ctypedef struct sc_row:
        uint32_t second
        sc_str rollout
        sc_str variant
        sc_str version
        sc_str segment
        const uint64_t *sums
        const uint32_t *counts

    int sc_rows_new(sc_rows **out, uint8_t *memory, size_t len, size_t units)
    void sc_rows_del(sc_rows *rows)
    int sc_rows_know_version(sc_rows *rows, sc_str version)
    int sc_rows_begin_version(sc_rows *rows, sc_str version)
    int sc_rows_change_odds(sc_rows *rows, sc_str rollout, sc_str version)
    int sc_rows_know_variant(sc_rows *rows, sc_str rollout, sc_str variant)
    void sc_rows_take(sc_rows *rows, sc_str message, uint64_t now_us)
    sc_logs *sc_rows_logs(sc_rows *rows)
    uint64_t sc_rows_counted(sc_rows *rows, sc_rows_count count)
    uint64_t sc_rows_turn(sc_rows *rows)
    int sc_rows_fold(sc_rows *rows, uint64_t number, size_t *at, const sc_row **out)
    void sc_rows_release(sc_rows *rows, uint64_t number)
    unsigned sc_bucket(uint64_t duration_us)


# A time after every expiry: who does not say what time it is forces nothing.
cdef int64_t NEVER = <int64_t>1 << 62


cdef inline sc_str view(bytes data) noexcept:
    return sc_str(<const uint8_t *>PyBytes_AS_STRING(data), <size_t>PyBytes_GET_SIZE(data))


cdef inline bytes copy(sc_str text):
    return PyBytes_FromStringAndSize(<const char *>text.data, <Py_ssize_t>text.len)


cdef int check(int rv, str what) except -1:
    if rv == SC_ERR_NOMEM:
        raise MemoryError
    if rv < 0:
        raise ValueError(what)
    return 0


def hash128(*parts: bytes) -> tuple[int, int]:
    """The two 64-bit halves of MurmurHash3_x64_128 of the parts, as if they stood together."""
    cdef sc_str views[8]
    if len(parts) > 8:
        raise ValueError("at most 8 parts")
    for i, part in enumerate(parts):
        views[i] = view(part)
    cdef sc_digest digest = sc_hash(views, <size_t>len(parts))
    return digest.low, digest.high


# By sc_input_kind, of which sc_source_kind is the beginning.
_KINDS = (
    "", "header", "cookie", "query", "client_address", "path", "host", "metadata", "attribute",
)


cdef tuple input_of(const sc_input *one):
    cdef size_t i
    return _KINDS[one.kind], tuple([copy(one.names[i]).decode() for i in range(one.n_names)])


cdef tuple source_of(const sc_source *one):
    return _KINDS[one.kind], (copy(one.name).decode(),) if one.name.len > 0 else ()


cdef class Table:
    """An immutable routing table. ValueError says why bytes are refused."""

    cdef sc_table *table
    cdef sc_scratch scratch

    def __cinit__(self, bytes data not None):
        cdef const char *reason = NULL
        cdef sc_str bytes_of = view(data)
        cdef int rv
        # Of thousands of rollouts: the event loop goes on meanwhile.
        with nogil:
            rv = sc_table_new(&self.table, bytes_of, &reason)
        check(rv, reason.decode() if reason != NULL else "")
        check(sc_scratch_init(&self.scratch, self.table), "")

    def __dealloc__(self):
        # Reached with a NULL table when __cinit__ raised.
        sc_table_del(self.table)
        sc_scratch_free(&self.scratch)

    def __len__(self) -> int:
        return sc_table_len(self.table)

    @property
    def version(self) -> str:
        return copy(sc_table_version(self.table)).decode()

    def capsule(self) -> object:
        return PyCapsule_New(<void *>self.table, b"sc_table", NULL)

    @property
    def announced(self) -> tuple[int, int, int, int]:
        cdef sc_table_sizes sizes = sc_table_announced(self.table)
        return sizes.rollouts, sizes.hosts, sizes.sources, sizes.variants

    def span(self, str name not None) -> tuple[int, int, int]:
        cdef bytes utf8 = name.encode()
        cdef sc_span span = sc_table_span(self.table, view(utf8))
        cdef const uint8_t *body = sc_table_body(self.table).data
        return span.at, span.begin - body, span.end - body

    def body(self, size_t begin, size_t end) -> bytes:
        cdef sc_str body = sc_table_body(self.table)
        if not begin <= end <= body.len:
            raise IndexError(end)
        return copy(sc_str(body.data + begin, end - begin))

    @property
    def body_len(self) -> int:
        return sc_table_body(self.table).len

    def variants(self, among=None):
        cdef const sc_rollout *rollout
        cdef uint32_t at
        cdef unsigned slot
        spans = [self.span(name) for name in among or ()]
        there = [at for at, begin, end in spans if begin < end]
        for place in range(sc_table_len(self.table)) if among is None else there:
            at = place
            rollout = sc_table_rollout(self.table, at)
            name = copy(rollout.name).decode()
            for slot in range(rollout.n_variants):
                yield name, copy(rollout.variants[slot].name).decode()

    def answer(self, bytes message not None, int64_t now_s=NEVER) -> bytes:
        cdef sc_str out
        # The scratch is shared by all callers: the GIL is what keeps them apart.
        check(
            sc_answer(self.table, view(message), now_s, &self.scratch, &out),
            "not a ProcessingRequest")
        return copy(out)

    def slot_at(self, uint32_t at, uint64_t position, uint64_t second) -> int:
        if at >= sc_table_len(self.table):
            raise IndexError(at)
        cdef const sc_rollout *rollout = sc_table_rollout(self.table, at)
        return sc_decide_slot(rollout, &rollout.split, position, second)

    def decide(
        self, bytes message not None, int64_t now_s=NEVER
    ) -> list[tuple[str, str, str, int, int]]:
        check(sc_request_parse(&self.scratch.request, view(message)), "not a ProcessingRequest")
        if self.scratch.request.kind != SC_MESSAGE_REQUEST_HEADERS:
            return []
        check(sc_answer_decide(self.table, now_s, &self.scratch), "")
        found = []
        cdef size_t i
        cdef sc_decision *d
        for i in range(self.scratch.n_decisions):
            d = &self.scratch.decisions[i]
            found.append((
                copy(d.rollout.name).decode(),
                copy(d.rollout.variants[d.slot].name).decode(),
                copy(sc_reason_name(d.rollout, d.reason)).decode(),
                d.position,
                d.second,
            ))
        return found

    def decide_often(self, bytes message not None, uint32_t times) -> None:
        check(sc_request_parse(&self.scratch.request, view(message)), "not a ProcessingRequest")
        while times > 0:
            check(sc_answer_decide(self.table, NEVER, &self.scratch), "")
            times -= 1

    def decide_many(self, list messages not None) -> memoryview:
        cdef Py_ssize_t width = sc_table_len(self.table)
        cdef bytearray made = bytearray(b"\xff") * (len(messages) * width * 4)
        if not made:
            return memoryview(made).cast("I")
        cdef uint32_t[::1] codes = memoryview(made).cast("I")
        cdef Py_ssize_t i
        cdef size_t n
        cdef sc_decision *d
        for i in range(len(messages)):
            check(
                sc_request_parse(&self.scratch.request, view(messages[i])),
                "not a ProcessingRequest")
            check(sc_answer_decide(self.table, NEVER, &self.scratch), "")
            for n in range(self.scratch.n_decisions):
                d = &self.scratch.decisions[n]
                codes[i * width + self.scratch.matches.at[n]] = d.reason << 8 | d.slot
        return memoryview(made).cast("I")

    def meaning(self, uint32_t at, uint32_t code) -> tuple[str, str]:
        if at >= sc_table_len(self.table):
            raise IndexError(at)
        cdef const sc_rollout *rollout = sc_table_rollout(self.table, at)
        cdef uint32_t reason = code >> 8
        cdef uint32_t slot = code & 0xff
        if slot >= rollout.n_variants or reason >= sc_reasons(rollout):
            raise ValueError(code)
        return (
            copy(rollout.variants[slot].name).decode(),
            copy(sc_reason_name(rollout, reason)).decode(),
        )

    def looks(self) -> dict[tuple[str, tuple[str, ...]], tuple[str, int]]:
        cdef const sc_inputs *inputs = &sc_table_parts(self.table).inputs
        cdef const sc_rollout *rollout
        cdef uint32_t at
        cdef uint32_t i
        named = [input_of(&inputs.inputs[i]) for i in range(inputs.count)]
        first, count = {}, {}
        for at in range(sc_table_len(self.table)):
            rollout = sc_table_rollout(self.table, at)
            asked = {source_of(&rollout.sources[i]) for i in range(rollout.n_sources)}
            for i in range(rollout.rules.n_tests):
                asked.add(named[rollout.rules.tests[i].input])
            for one in asked:
                first.setdefault(one, at)
                count[one] = count.get(one, 0) + 1
        return {
            one: (copy(sc_table_rollout(self.table, first[one]).name).decode(), count[one])
            for one in sorted(first)
        }

    def tally(self) -> dict[tuple[str, str, str], int]:
        counted = {}
        cdef uint64_t count
        cdef sc_tally_cell cell
        memset(&cell, 0, sizeof(cell))
        while sc_tally_next(self.table, &cell):
            count = sc_scratch_tally(&self.scratch, cell.rollout, cell.slot, cell.reason)
            if count > 0:
                counted[
                    copy(cell.rollout.name).decode(),
                    copy(cell.rollout.variants[cell.slot].name).decode(),
                    copy(sc_reason_name(cell.rollout, cell.reason)).decode(),
                ] = count
        return counted

    def force_refused(self) -> dict[str, int]:
        return {
            copy(sc_token_refusal_name(why)).decode(): sc_scratch_refused(&self.scratch, why)
            for why in range(1, SC_TOKEN_REFUSALS)
        }

# In the order of sc_rows_count.
_COUNTS = (
    "taken", "malformed_messages", "malformed", "intermediate", "undecided", "too_old", "future",
    "unknown_version", "unknown_rollout", "unknown_variant", "crowded", "overrun",
    "units_forgotten",
)


def bucket(uint64_t duration_us) -> int:
    return sc_bucket(duration_us)


cdef class Rows:
    """What access log entries become. ValueError: the memory holds no journal."""

    cdef sc_rows *rows
    cdef unsigned char[::1] memory
    cdef readonly size_t damaged

    def __cinit__(self, memory not None, size_t units = 1 << 18):
        self.memory = memory
        check(
            sc_rows_new(&self.rows, &self.memory[0], <size_t>self.memory.shape[0], units),
            "this memory holds no journal",
        )

    def __dealloc__(self):
        sc_rows_del(self.rows)

    def capsule(self) -> object:
        return PyCapsule_New(<void *>self.rows, b"sc_rows", NULL)

    def know(self, str version not None, names) -> None:
        cdef bytes text = version.encode()
        cdef bytes rollout
        cdef bytes variant
        check(sc_rows_know_version(self.rows, view(text)), "")
        for one, other in names:
            rollout, variant = one.encode(), other.encode()
            check(sc_rows_know_variant(self.rows, view(rollout), view(variant)), "")

    def begin(self, str version not None, names, changed) -> None:
        cdef bytes text = version.encode()
        cdef bytes rollout
        check(sc_rows_begin_version(self.rows, view(text)), "a version has 1 to 255 bytes")
        for one in changed:
            rollout = one.encode()
            check(sc_rows_change_odds(self.rows, view(rollout), view(text)), "")
        self.know(version, names)

    def take(self, bytes message not None, uint64_t now_us) -> None:
        cdef sc_str bytes_of = view(message)
        with nogil:
            sc_rows_take(self.rows, bytes_of, now_us)

    def log_opened(self, bytes message not None) -> int:
        cdef sc_logs *logs = sc_rows_logs(self.rows)
        cdef sc_log *log = sc_logs_open(logs, view(message))
        return log - &logs.logs[0] if log != NULL else -1

    def log_closed(self, int log) -> None:
        if not -1 <= log < SC_MAX_LOGS:
            raise IndexError(log)
        cdef sc_logs *logs = sc_rows_logs(self.rows)
        sc_logs_close(logs, NULL if log < 0 else &logs.logs[log])

    def log_names(self) -> list[str]:
        cdef uint8_t name[SC_MAX_LOG_NAME]
        cdef sc_logs *logs = sc_rows_logs(self.rows)
        cdef size_t at
        cdef size_t size
        names = []
        for at in range(SC_MAX_LOGS):
            size = sc_logs_name(logs, at, name)
            if size > 0:
                names.append(name[:size].decode("utf-8", "replace"))
        return sorted(names)

    def counts(self) -> dict[str, int]:
        return {
            name: sc_rows_counted(self.rows, <sc_rows_count>at) for at, name in enumerate(_COUNTS)
        }

    def turn(self) -> int:
        return sc_rows_turn(self.rows)

    def release(self, uint64_t number) -> None:
        sc_rows_release(self.rows, number)

    def fold(self, uint64_t number) -> list[tuple[int, str, str, str, str, dict[int, int]]]:
        folded = []
        cdef size_t at = 0
        cdef const sc_row *rows
        cdef int found
        while True:
            with nogil:
                found = sc_rows_fold(self.rows, number, &at, &rows)
            self.damaged += found < 0
            if found <= 0:
                return folded
            folded += [row_of(&rows[i]) for i in range(found)]


cdef tuple row_of(const sc_row *row):
    cdef dict cells = {}
    cdef unsigned at
    for at in range(SC_CELL_ERRORS):
        if row.sums[at]:
            cells[at] = row.sums[at]
    for at in range(SC_CELL_ERRORS, SC_CELLS):
        if row.counts[at]:
            cells[at] = row.counts[at]
    return (
        row.second,
        text(row.rollout),
        text(row.variant),
        text(row.version),
        text(row.segment),
        cells,
    )


cdef inline str text(sc_str utf8):
    return copy(utf8).decode("utf-8", "replace")
