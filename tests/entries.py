"""Access log entries as Envoy would write them, and hypothesis' idea of them."""

from datetime import UTC, datetime, timedelta

from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.data.accesslog import v3 as accesslog
from envoy_data_plane.envoy.service.accesslog import v3 as als
from envoy_data_plane.google import protobuf
from hypothesis import strategies as st

NOW_US = 1_800_000_000 * 10**6
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNIT = "00c0ffee00c0ffee"
DECISION = {"variant": "canary", "version": "v1", "reason": "weight", "unit": UNIT}


def message(*logged: accesslog.HttpAccessLogEntry) -> bytes:
    """What Envoy sends."""
    logs = als.StreamAccessLogsMessageHttpAccessLogEntries(log_entry=list(logged))
    return bytes(als.StreamAccessLogsMessage(http_logs=logs))


def struct(tree: dict) -> protobuf.Struct:
    """A Struct of strings and Structs."""
    return protobuf.Struct(
        fields={
            name: protobuf.Value(struct_value=struct(value))
            if isinstance(value, dict)
            else protobuf.Value(string_value=value)
            for name, value in tree.items()
        }
    )


def metadata(decisions: dict | None) -> core.Metadata | None:
    """The metadata that ext_proc left, beside somebody else's."""
    if decisions is None:
        return None
    return core.Metadata(
        filter_metadata={"other": struct({"variant": "x"}), "canary": struct(decisions)}
    )


def entry(  # noqa: PLR0917
    decisions=None,
    code=200,
    start_us=NOW_US - 1_500_000,
    duration_us=20_000,
    flags=None,
    grpc_status=None,
    **common,
) -> accesslog.HttpAccessLogEntry:
    """One request that ended."""
    duration = None if duration_us is None else timedelta(microseconds=duration_us)
    trailers = {} if grpc_status is None else {"grpc-status": grpc_status}
    return accesslog.HttpAccessLogEntry(
        common_properties=accesslog.AccessLogCommon(
            start_time=None if start_us is None else EPOCH + timedelta(microseconds=start_us),
            time_to_last_downstream_tx_byte=duration,
            response_flags=accesslog.ResponseFlags(**flags) if flags is not None else None,
            metadata=metadata({"chat": DECISION} if decisions is None else decisions),
            **common,
        ),
        request=accesslog.HttpRequestProperties(path="/v1/chat", request_body_bytes=11),
        response=accesslog.HttpResponseProperties(
            response_code=code, response_body_bytes=222, response_trailers=trailers
        ),
    )


_FLAGS = [
    "no_healthy_upstream",
    "upstream_request_timeout",
    "upstream_connection_failure",
    "downstream_connection_termination",
    "downstream_remote_reset",
]
_NAMES = st.sampled_from(["chat", "shop", "unknown", "", "é", "x" * 256])
_UNITS = st.one_of(
    st.integers(0, 5).map(lambda n: f"{n * 0x0123456789ABCDEF % 2**64:016x}"),
    st.sampled_from(["", "XYZ", "0" * 15, "0" * 15 + "G"]),
)
_DECISIONS = st.fixed_dictionaries(
    {
        "variant": st.sampled_from(["stable", "canary", "canary", "other"]),
        "version": st.sampled_from(["v1", "v1", "v2", "v9"]),
        "reason": st.sampled_from(["weight", "weight", "segment:staff", "no_unit"]),
    },
    optional={"unit": st.one_of(_UNITS, st.sampled_from(["0" * 16, UNIT]))},
)
_US = st.integers(0, 1 << 31)
_STARTS = st.one_of(
    st.integers(-3, 3).map(lambda s: NOW_US - 2_000_000 + s * 500_000),
    st.sampled_from([None, 0, NOW_US + 5_000_000, NOW_US + 5_000_001]),
    st.sampled_from([NOW_US - 86_400_000_000, NOW_US - 86_400_000_001]),
)

ENTRIES = st.builds(
    entry,
    decisions=st.dictionaries(_NAMES, _DECISIONS, max_size=3),
    code=st.one_of(st.none(), st.sampled_from([0, 99, 100, 200, 404, 500, 599, 600, 70_000])),
    start_us=_STARTS,
    duration_us=st.one_of(st.none(), _US, st.integers(0, 4000)),
    flags=st.one_of(st.none(), st.dictionaries(st.sampled_from(_FLAGS), st.booleans())),
    grpc_status=st.one_of(st.none(), st.sampled_from(["0", "14", "16", "17", "", "x", "007"])),
    duration=st.one_of(st.none(), _US.map(lambda us: timedelta(microseconds=us))),
    intermediate_log_entry=st.sampled_from([False, False, False, True]),
    access_log_type=st.sampled_from(
        [accesslog.AccessLogType.NotSet, accesslog.AccessLogType.DownstreamEnd] * 2
        + [accesslog.AccessLogType.UpstreamEnd]
    ),
)
# Most runs should have entries that count.
PLAIN = st.builds(
    entry,
    decisions=st.builds(
        lambda one, two: {"chat": one, "shop": two},
        *[
            st.fixed_dictionaries(
                {
                    "variant": st.sampled_from(["stable", "canary"]),
                    "version": st.sampled_from(["v1", "v2"]),
                    "reason": st.sampled_from(["weight", "segment:staff"]),
                    "unit": st.integers(0, 9).map("{:016x}".format),
                }
            )
        ]
        * 2,
    ),
    code=st.sampled_from([200, 200, 200, 404, 503]),
    start_us=st.integers(0, 3).map(lambda s: NOW_US - s * 1_000_000),
    duration_us=st.integers(0, 1 << 31),
    grpc_status=st.one_of(st.none(), st.integers(0, 17).map(str)),
)
