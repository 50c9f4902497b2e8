"""The native rows against their specification, and against bytes that nobody should send."""

from collections import Counter

import pytest
from entries import DECISION, ENTRIES, NOW_US, PLAIN, entry, message
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.data.accesslog import v3 as accesslog
from envoy_data_plane.envoy.service.accesslog import v3 as als
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.analysis import cells, edges
from sidecar.outcomes.twin_accesslog import Key, TwinRows
from sidecar.routing import Rows, bucket

NAMES = [("chat", "stable"), ("chat", "canary"), ("shop", "stable"), ("shop", "canary"), ("é", "é")]
KEY = Key(NOW_US // 10**6 - 2, "chat", "canary", "v1", "weight")
SMALL = 1 << 16


def native(units: int = 64, memory: bytearray | None = None) -> Rows:
    rows = Rows(bytearray(1 << 20) if memory is None else memory, units)
    for version in ("v1", "v2"):
        rows.know(version, NAMES)
    return rows


def twin(units: int = 64) -> TwinRows:
    rows = TwinRows(units)
    for version in ("v1", "v2"):
        rows.know(version, NAMES)
    return rows


def drained(rows: Rows) -> dict[Key, Counter[int]]:
    """Everything taken so far, by key."""
    found: dict[Key, Counter[int]] = {}
    while number := rows.turn():
        for *key, counts in rows.fold(number):
            found.setdefault(Key(*key), Counter()).update(counts)
        rows.release(number)
    return found


def one_row(*logged) -> Counter[int]:
    rows = native()
    rows.take(message(*logged), NOW_US)
    [row] = drained(rows).values()
    return row


def counted(rows) -> Counter[str]:
    counts = rows.counts() if isinstance(rows, Rows) else rows.counts
    return +Counter({name: count for name, count in counts.items() if name != "known"})


@settings(max_examples=120)
@given(st.lists(st.lists(st.one_of(ENTRIES, PLAIN), max_size=8), max_size=4))
def test_every_row_and_every_count_is_the_specifications(batches):
    ours, specified = native(), twin()
    for batch in batches:
        for rows in (ours, specified):
            rows.take(message(*batch), NOW_US)
    assert drained(ours) == {key: +row for key, row in specified.rows.items()}
    assert counted(ours) == +specified.counts - Counter(known=specified.counts["known"])


# Tables one after the other, and which rollouts each of them changes.
TABLES = st.lists(
    st.tuples(st.sampled_from(["v1", "v2", "v3"]), st.sets(st.sampled_from(["chat", "shop"]))),
    max_size=6,
)


@settings(max_examples=120)
@given(TABLES, st.lists(PLAIN, max_size=12))
def test_whose_odds_a_table_changed_is_as_the_specification_says(tables, logged):
    ours, specified = Rows(bytearray(1 << 20)), TwinRows()
    for rows in (ours, specified):
        rows.know("v2", NAMES)
        rows.take(message(*logged), NOW_US)
        for version, changed in tables:
            rows.begin(version, NAMES, changed)
            rows.take(message(*logged), NOW_US)
    assert drained(ours) == {key: +row for key, row in specified.rows.items()}
    assert counted(ours) == +specified.counts - Counter(known=specified.counts["known"])


def test_a_hundred_thousand_tables_of_neighbours_leave_a_rollout_its_row():
    """Ten a second for four hours: the oldest tables are forgotten, what they began is not."""
    ours, specified = Rows(bytearray(1 << 20)), TwinRows()
    last, told = 140_000, {}
    for rows in (ours, specified):
        for number in range(last + 1):
            rows.begin(f"t{number}", NAMES if number == 0 else (), {"shop"})
        for number in (0, last - 65_000, last):
            decided = {**DECISION, "version": f"t{number}"}
            rows.take(message(entry(decisions={"chat": decided, "shop": decided})), NOW_US)
        told[type(rows)] = counted(rows)
    assert drained(ours) == {key: +row for key, row in specified.rows.items()}
    assert told[Rows]["unknown_version"] == told[TwinRows]["unknown_version"] > 0
    chat = {key.version for key in specified.rows if key.rollout == "chat"}
    shop = {key.version for key in specified.rows if key.rollout == "shop"}
    assert chat == {"t0"}
    assert shop == {f"t{last - 65_000}", f"t{last}"}


def test_a_version_that_cannot_be_is_refused():
    for version in ("", "x" * 256):
        with pytest.raises(ValueError, match="1 to 255 bytes"):
            Rows(bytearray(SMALL)).begin(version, NAMES, ())


@settings(max_examples=60)
@given(st.lists(PLAIN, max_size=60))
def test_units_that_were_forgotten_count_anew_as_the_specification_says(logged):
    ours, specified = native(units=4), twin(units=4)
    for rows in (ours, specified):
        rows.take(message(*logged), NOW_US)
    assert drained(ours) == {key: +row for key, row in specified.rows.items()}
    assert counted(ours)["units_forgotten"] == specified.counts["units_forgotten"]


@settings(max_examples=120)
@given(
    st.integers(0, (1 << 64) - 1) | st.integers(0, 1 << 12) | st.integers((1 << 30) - 9, 1 << 31)
)
def test_buckets_are_those_of_the_published_edges(duration_us):
    ours = bucket(duration_us)
    assert ours == edges.bucket(duration_us)
    assert ours == sum(low <= duration_us for low in edges.LOWER_US) - 1


def test_a_row_says_what_became_of_a_request():
    row = one_row(entry(code=503, flags={"upstream_connection_failure": True}, duration_us=20_000))
    assert row == {
        cells.COMPLETED: 1,
        cells.BYTES_SENT: 222,
        cells.BYTES_RECEIVED: 11,
        cells.DURATION_US: 20_000,
        cells.ERRORS: 1,
        cells.UNITS: 1,
        cells.UNIT_ERRORS: 1,
        cells.AT_RISK: 1,
        cells.HTTP_CLASS + 5: 1,
        cells.FLAG + 6: 1,
        cells.DURATION + edges.bucket(20_000): 1,
        cells.UNIT_DURATION + edges.bucket(20_000): 1,
    }


@pytest.mark.parametrize(
    ("logged", "errors"),
    [
        (entry(code=200), 0),
        (entry(code=404), 0),
        (entry(code=500), 1),
        (entry(grpc_status="0"), 0),
        (entry(grpc_status="5"), 0),
        (entry(grpc_status="14"), 1),
        (entry(code=None), 1),
        (entry(code=None, flags={"downstream_connection_termination": True}), 0),
    ],
)
def test_an_error_is_what_the_server_is_to_blame_for(logged, errors):
    assert one_row(logged)[cells.ERRORS] == errors


def test_a_unit_counts_once_however_often_it_fails():
    row = one_row(entry(), *[entry(code=500)] * 5, entry())
    assert (row[cells.COMPLETED], row[cells.ERRORS]) == (7, 5)
    assert (row[cells.UNITS], row[cells.UNIT_ERRORS], row[cells.AT_RISK]) == (1, 1, 2)


def test_the_same_unit_is_another_at_other_odds():
    later = {**DECISION, "version": "v2"}
    rows = native()
    rows.take(message(entry(code=500), entry(decisions={"chat": later}, code=500)), NOW_US)
    assert [row[cells.UNIT_ERRORS] for row in drained(rows).values()] == [1, 1]


def test_grpc_status_is_read_from_the_headers_where_there_are_no_trailers():
    response = accesslog.HttpResponseProperties(
        response_code=200, response_headers={"grpc-status": "13"}
    )
    logged = entry()
    logged.response = response
    assert one_row(logged)[cells.GRPC_STATUS + 13] == 1


@pytest.mark.parametrize(
    ("logged", "why"),
    [
        (entry(start_us=NOW_US - 86_400_000_001), "too_old"),
        (entry(start_us=NOW_US + 5_000_001), "future"),
        (entry(decisions={}), "undecided"),
        (entry(decisions={"chat": {**DECISION, "version": "v9"}}), "unknown_version"),
        (entry(decisions={"gone": DECISION}), "unknown_rollout"),
        (entry(decisions={"chat": {**DECISION, "variant": "gone"}}), "unknown_variant"),
        (entry(decisions={"chat": {**DECISION, "unit": "not hex digits.."}}), "malformed"),
        (entry(decisions={"chat": {**DECISION, "variant": ""}}), "malformed"),
        (entry(start_us=None), "malformed"),
        (entry(intermediate_log_entry=True), "intermediate"),
    ],
)
def test_what_cannot_be_a_row_is_counted_with_its_reason(logged, why):
    rows = native()
    rows.take(message(logged), NOW_US)
    assert drained(rows) == {}
    assert counted(rows) == {why: 1}


def test_one_bad_entry_does_not_take_its_neighbours_along():
    good = bytes(entry())
    bad = good[:-3]
    logs = b"".join(bytes([0x0A]) + _varint(len(one)) + one for one in (good, bad, good))
    rows = native()
    rows.take(bytes([0x12]) + _varint(len(logs)) + logs, NOW_US)
    assert drained(rows)[KEY][cells.COMPLETED] == 2
    assert counted(rows) == {"taken": 2, "malformed": 1}


def _varint(number: int) -> bytes:
    return bytes([number & 0x7F | 0x80, number >> 7]) if number > 0x7F else bytes([number])


def test_decisions_beyond_what_is_read_are_counted():
    rows = native()
    decisions = {f"r{i}": DECISION for i in range(40)}
    rows.know("v1", [(name, "canary") for name in decisions])
    rows.take(message(entry(decisions=decisions)), NOW_US)
    assert len(drained(rows)) == 32
    assert counted(rows)["crowded"] == 8


def test_the_identifier_of_a_stream_and_tcp_entries_are_passed_over():
    node = core.Node(id="n" * 64_000)
    hello = als.StreamAccessLogsMessage(
        identifier=als.StreamAccessLogsMessageIdentifier(node=node, log_name="canary"),
        http_logs=als.StreamAccessLogsMessageHttpAccessLogEntries(log_entry=[entry()]),
    )
    tcp = als.StreamAccessLogsMessageTcpAccessLogEntries(
        log_entry=[accesslog.TcpAccessLogEntry(common_properties=accesslog.AccessLogCommon())]
    )
    rows = native()
    rows.take(bytes(hello), NOW_US)
    rows.take(bytes(als.StreamAccessLogsMessage(tcp_logs=tcp)), NOW_US)
    assert counted(rows) == {"taken": 1}


def test_more_names_of_logs_than_are_kept_are_left_out_and_closing_makes_room():
    def named(name):
        identifier = als.StreamAccessLogsMessageIdentifier(log_name=name)
        return bytes(als.StreamAccessLogsMessage(identifier=identifier))

    rows = native()
    opened = [rows.log_opened(named(f"log-{n:02}")) for n in range(20)]
    assert sorted(opened) == [-1] * 4 + list(range(16))
    assert rows.log_names() == [f"log-{n:02}" for n in range(16)]
    assert rows.log_opened(named("log-03")) == opened[3]
    for one in opened:
        rows.log_closed(one)
    assert rows.log_names() == ["log-03"]
    assert rows.log_opened(named("another")) >= 0
    assert rows.log_names() == ["another", "log-03"]
    assert [rows.log_opened(one) for one in (b"", b"\xff", named(""), named("n" * 16_385))] == [
        -1
    ] * 4
    with pytest.raises(IndexError):
        rows.log_closed(16)


MESSAGE = message(entry(), entry(code=500, grpc_status="2", flags={"local_reset": True}))


@settings(max_examples=250)
@given(st.data())
def test_no_bytes_bring_it_down(data):
    damaged = bytearray(MESSAGE)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    rows = native()
    for one in (bytes(damaged), bytes(damaged[:cut]), data.draw(st.binary(max_size=64))):
        rows.take(one, NOW_US)
    completed = sum(row[cells.COMPLETED] for row in drained(rows).values())
    assert completed == counted(rows)["taken"] <= 6
