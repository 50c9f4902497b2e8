"""An access log entry becomes a row, timed by pytest-benchmark (`make bench`).

One message holds 40 entries, as Envoy's 16 KiB buffer does; figures are of a whole message, the
call from Python included. The peer is official protobuf (upb), decoding only the fields that a row
needs and counting them in a Counter; beside it the specification, on envoy-data-plane's messages.
"""

import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.data.accesslog import v3 as accesslog
from envoy_data_plane.envoy.service.accesslog import v3 as als
from envoy_data_plane.google import protobuf

from sidecar.outcomes.twin_accesslog import TwinRows
from sidecar.routing import Rows

ENTRIES = 40
NOW_S = 1_800_000_000
NAMES = [("chat", "stable"), ("chat", "canary")]
MADE = Path(__file__).parent.parent / "build" / "bench" / "accesslog"


def _address(port: int) -> core.Address:
    return core.Address(socket_address=core.SocketAddress(address="127.0.0.1", port_value=port))


def _text(text: str) -> protobuf.Value:
    return protobuf.Value(string_value=text)


def _entry(at: int) -> accesslog.HttpAccessLogEntry:
    """About 430 bytes, what Envoy 1.40 writes of a small request."""
    decision = {
        "variant": _text("canary" if at % 20 == 0 else "stable"),
        "version": _text("0123456789ab"),
        "reason": _text("weight"),
        "unit": _text(f"{at * 0x0123456789ABCDEF % 2**64:016x}"),
    }
    chat = protobuf.Value(struct_value=protobuf.Struct(fields=decision))
    took = timedelta(microseconds=1500 + 37 * at)
    start = datetime.fromtimestamp(NOW_S - 1, UTC) + timedelta(milliseconds=at)
    return accesslog.HttpAccessLogEntry(
        common_properties=accesslog.AccessLogCommon(
            sample_rate=1.0,
            downstream_remote_address=_address(40000 + at),
            downstream_local_address=_address(10000),
            downstream_direct_remote_address=_address(40000 + at),
            upstream_remote_address=_address(8081),
            upstream_local_address=_address(41000),
            start_time=start,
            time_to_last_rx_byte=took / 9,
            time_to_first_upstream_tx_byte=took / 5,
            time_to_last_upstream_tx_byte=took / 5,
            time_to_first_upstream_rx_byte=took / 2,
            time_to_last_upstream_rx_byte=took / 2,
            time_to_first_downstream_tx_byte=took / 2,
            time_to_last_downstream_tx_byte=took,
            duration=took,
            upstream_cluster="chat-stable",
            metadata=core.Metadata(
                filter_metadata={"canary": protobuf.Struct(fields={"chat": chat})}
            ),
            stream_id="7c7a1b2e-5c7e-4d0e-9f4e-1f6f0f5a2b3c",
            downstream_wire_bytes_sent=300,
            downstream_wire_bytes_received=200,
            upstream_wire_bytes_sent=300,
            upstream_wire_bytes_received=200,
            access_log_type=accesslog.AccessLogType.DownstreamEnd,
        ),
        request=accesslog.HttpRequestProperties(
            scheme="http", authority="chat.example", path="/v1/chat", user_agent="curl/8",
            request_headers_bytes=210, request_body_bytes=20,
        ),
        response=accesslog.HttpResponseProperties(
            response_code=200, response_headers_bytes=120, response_body_bytes=300,
            response_code_details="via_upstream",
        ),
    )  # fmt: skip


def message() -> bytes:
    """One message of the access log."""
    entries = [_entry(at) for at in range(ENTRIES)]
    logs = als.StreamAccessLogsMessageHttpAccessLogEntries(log_entry=entries)
    return bytes(als.StreamAccessLogsMessage(http_logs=logs))


MESSAGE = message()


def _group(benchmark: Any) -> None:
    benchmark.group = f"a message of {ENTRIES} entries, {len(MESSAGE) // ENTRIES} bytes each"


def _emptied(rows: Rows) -> None:
    while number := rows.turn():
        rows.release(number)


def test_native_take(benchmark: Any) -> None:
    """Decoded, judged, deduplicated by unit and committed to the journal."""
    _group(benchmark)
    rows = Rows(bytearray(1 << 24))
    rows.know("0123456789ab", NAMES)

    def fresh() -> tuple[tuple[bytes, int], dict[str, Any]]:
        _emptied(rows)
        return (MESSAGE, NOW_S * 10**6), {}

    benchmark.pedantic(rows.take, setup=fresh, rounds=2000)
    assert rows.counts()["taken"] == rows.counts()["taken"] // ENTRIES * ENTRIES > 0


def test_native_take_and_fold(benchmark: Any) -> None:
    """The same, and folded into rows that Python holds: once a message, in life once a second."""
    _group(benchmark)
    rows = Rows(bytearray(1 << 24))
    rows.know("0123456789ab", NAMES)

    def one() -> list[Any]:
        rows.take(MESSAGE, NOW_S * 10**6)
        number = rows.turn()
        folded = rows.fold(number)
        rows.release(number)
        return folded

    assert len(benchmark(one)) == 2


def test_upb(benchmark: Any) -> None:
    """Official protobuf, and a Counter: no dedup by unit, no histogram, nothing kept."""
    _group(benchmark)
    MADE.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "grpc_tools.protoc", f"-I{Path(__file__).parent}"]
    subprocess.run([*argv, f"--python_out={MADE}", "accesslog.proto"], check=True)
    sys.path.insert(0, str(MADE))
    try:
        import accesslog_pb2 as pb  # type: ignore[import-not-found]  # noqa: PLC0415
    finally:
        sys.path.remove(str(MADE))

    def take() -> Counter[Any]:
        rows: Counter[Any] = Counter()
        for entry in pb.Logs.FromString(MESSAGE).http_logs.log_entry:
            common = entry.common_properties
            chat = common.metadata.filter_metadata["canary"].fields["chat"].struct_value.fields
            took = common.time_to_last_downstream_tx_byte
            took_us = took.seconds * 1_000_000 + took.nanos // 1000
            key = (common.start_time.seconds, "chat", chat["variant"].string_value,
                   chat["version"].string_value, chat["reason"].string_value)  # fmt: skip
            rows[key, entry.response.response_code.value // 100, took_us.bit_length()] += 1
            rows[key, "bytes"] += entry.response.response_body_bytes
        return rows

    benchmark(take)


def test_specification(benchmark: Any) -> None:
    """The twin, through envoy-data-plane's messages."""
    _group(benchmark)
    rows = TwinRows()
    rows.know("0123456789ab", NAMES)
    benchmark(rows.take, MESSAGE, NOW_S * 10**6)


@pytest.mark.parametrize("rollouts", [1, 8])
def test_native_take_by_rollouts(benchmark: Any, rollouts: int) -> None:
    """What more rollouts in one request cost."""
    benchmark.group = f"a message of {ENTRIES} entries, by rollouts that spoke"
    rows = Rows(bytearray(1 << 24))
    rows.know("0123456789ab", [(f"r{i}", "stable") for i in range(rollouts)])
    decision = protobuf.Struct(
        fields={"variant": _text("stable"), "version": _text("0123456789ab"),
                "reason": _text("weight"), "unit": _text("0" * 16)}
    )  # fmt: skip
    spoke = {f"r{i}": protobuf.Value(struct_value=decision) for i in range(rollouts)}
    entry = _entry(1)
    entry.common_properties.metadata = core.Metadata(
        filter_metadata={"canary": protobuf.Struct(fields=spoke)}
    )
    logs = als.StreamAccessLogsMessageHttpAccessLogEntries(log_entry=[entry] * ENTRIES)
    logged = bytes(als.StreamAccessLogsMessage(http_logs=logs))

    def fresh() -> tuple[tuple[bytes, int], dict[str, Any]]:
        _emptied(rows)
        return (logged, NOW_S * 10**6), {}

    benchmark.pedantic(rows.take, setup=fresh, rounds=500)
