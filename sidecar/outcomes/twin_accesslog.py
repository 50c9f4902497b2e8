"""The specification of native/sc_accesslog.c and sc_rows.c, on Envoy's own message types.

What an access log entry counts for, and in which row. Slow and plain: who wants to know how an
outcome is counted reads this. Tests hold the native core against it, row by row.
"""

import dataclasses
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from envoy_data_plane.envoy.data.accesslog import v3 as accesslog
from envoy_data_plane.envoy.service.accesslog import v3 as als

from sidecar.analysis import cells, edges
from sidecar.outcomes.twin_odds import Odds

MOST_DECISIONS = 32
_LONGEST_NAME = 255
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TOO_OLD_US = 86_400 * 10**6
_FUTURE_US = 5 * 10**6
_TOO_LATE = timedelta(seconds=1 << 31)
_GRPC_OTHER = 17
# What OpenTelemetry's conventions call errors of a server: UNKNOWN, DEADLINE_EXCEEDED,
# UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
_GRPC_ERRORS = frozenset({2, 4, 12, 13, 14, 15})
_CLIENT_LEFT = 15
_FLAGS = {
    field.name: field.metadata["betterproto"].number
    for field in dataclasses.fields(accesslog.ResponseFlags)
}
_ENDS = (accesslog.AccessLogType.NotSet, accesslog.AccessLogType.DownstreamEnd)


class Decision(NamedTuple):
    """One rollout's part in a request, as the metadata has it; `unit` is None without one."""

    rollout: str
    variant: str
    version: str
    reason: str
    unit: int | None


class Entry(NamedTuple):
    """What is read of an entry. No duration and no gRPC status are None, no answer is code 0."""

    start_us: int
    duration_us: int | None
    bytes_sent: int
    bytes_received: int
    flags: frozenset[int]
    code: int
    grpc_status: int | None
    decisions: tuple[Decision, ...]

    @property
    def is_error(self) -> bool:
        """Whether the server is to blame; no answer counts, unless the client left first."""
        if self.grpc_status in _GRPC_ERRORS or self.code >= 500:
            return True
        return self.code == 0 and _CLIENT_LEFT not in self.flags


class Key(NamedTuple):
    """What makes a row: the second in which its requests started, and the decision.

    `version` is that of the table since which the rollout has had these odds (`twin_odds`).
    """

    second: int
    rollout: str
    variant: str
    version: str
    segment: str


class Refused(Exception):  # noqa: N818 - not an error: a reason to count
    """Why an entry becomes no row; the argument is the name it is counted under."""


class Recent:
    """Remembers marks of the most recent keys, as native/sc_recent.h does."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._young: OrderedDict[object, int] = OrderedDict()
        self._old: OrderedDict[object, int] = OrderedDict()
        self.forgotten = 0

    def mark(self, key: object, marks: int) -> int:
        """Add marks to a key and return those it had: 0 if it was not remembered."""
        if key in self._young:
            had = self._young[key]
        else:
            had = self._old.get(key, 0)
            if len(self._young) == self._room:
                self.forgotten += len(self._old.keys() - self._young.keys())
                self._old, self._young = self._young, OrderedDict()
        self._young[key] = had | marks
        return had


class TwinRows:
    """Takes messages and holds rows: `rows[key][cell]`."""

    def __init__(self, units: int = 1 << 18) -> None:
        self.rows: dict[Key, Counter[int]] = {}
        self.counts: Counter[str] = Counter()
        self._units = Recent(units)
        self._odds = Odds()
        self._names: set[tuple[str, str]] = set()

    def know(self, version: str, names: Iterable[tuple[str, str]]) -> None:
        """Let entries name this table version of an earlier life, and these (rollout, variant)."""
        self._odds.know(version)
        self._names.update(names)

    def begin(self, version: str, names: Iterable[tuple[str, str]], changed: Iterable[str]) -> None:
        """Take note that a table comes into force, and which rollouts have other odds by it."""
        self._odds.begin(version, changed)
        self._names.update(names)

    def take(self, message: bytes, now_us: int) -> None:
        """Take a serialised message; every entry becomes rows or a count."""
        logs = als.StreamAccessLogsMessage.parse(message).http_logs
        for logged in logs.log_entry if logs else ():
            try:
                self._add(read(logged), now_us)
            except Refused as refused:
                self.counts[str(refused)] += 1

    def _add(self, entry: Entry, now_us: int) -> None:
        if not entry.decisions:
            raise Refused("undecided")
        if entry.start_us > now_us + _FUTURE_US:
            raise Refused("future")
        if entry.start_us + _TOO_OLD_US < now_us:
            raise Refused("too_old")
        known = [one for one in entry.decisions[:MOST_DECISIONS] if self._knows(one)]
        self.counts["crowded"] += len(entry.decisions[MOST_DECISIONS:])
        self.counts["taken"] += bool(known)
        for decision in known:
            self._count(entry, decision)

    def _knows(self, decision: Decision) -> bool:
        why = ""
        if not self._odds.since(decision.version, decision.rollout):
            why = "unknown_version"
        elif decision.rollout not in {rollout for rollout, _ in self._names}:
            why = "unknown_rollout"
        elif (decision.rollout, decision.variant) not in self._names:
            why = "unknown_variant"
        self.counts[why or "known"] += 1
        return not why

    def _count(self, entry: Entry, decision: Decision) -> None:
        since = self._odds.since(decision.version, decision.rollout)
        second = entry.start_us // 10**6
        key = Key(second, decision.rollout, decision.variant, since, decision.reason)
        row = self.rows.setdefault(key, Counter())
        row[cells.COMPLETED] += 1
        row[cells.BYTES_SENT] += entry.bytes_sent
        row[cells.BYTES_RECEIVED] += entry.bytes_received
        row[cells.ERRORS] += entry.is_error
        row[cells.HTTP_CLASS + (entry.code // 100 if 100 <= entry.code < 600 else 0)] += 1
        if entry.grpc_status is not None:
            row[cells.GRPC_STATUS + entry.grpc_status] += 1
        for flag in entry.flags:
            row[cells.FLAG + flag] += 1
        first = self._count_unit(row, entry, decision, since)
        if entry.duration_us is not None:
            bucket = edges.bucket(entry.duration_us)
            row[cells.DURATION_US] += entry.duration_us
            row[cells.DURATION + bucket] += 1
            row[cells.UNIT_DURATION + bucket] += first

    def _count_unit(self, row: Counter[int], entry: Entry, decision: Decision, since: str) -> bool:
        """Count what is counted once per unit; say whether this is the unit's first request."""
        seen, erred = 1, 2
        if decision.unit is None:
            return False
        key = (decision.rollout, decision.variant, since, decision.unit)
        had = self._units.mark(key, seen | erred if entry.is_error else seen)
        self.counts["units_forgotten"] = self._units.forgotten
        row[cells.UNITS] += not had
        if not had & erred:
            row[cells.AT_RISK] += 1
            row[cells.UNIT_ERRORS] += entry.is_error
        return not had


def read(logged: accesslog.HttpAccessLogEntry) -> Entry:
    """Read an entry. Raises Refused for one that is not the end of a request, or cannot be."""
    common = logged.common_properties or accesslog.AccessLogCommon()
    request = logged.request or accesslog.HttpRequestProperties()
    response = logged.response or accesslog.HttpResponseProperties()
    if common.start_time is None or (response.response_code or 0) > 65535:
        raise Refused("malformed")
    start = common.start_time - _EPOCH
    if not timedelta() <= start < _TOO_LATE:
        raise Refused("malformed")
    duration_us = _microseconds(common.time_to_last_downstream_tx_byte)
    whole_us = _microseconds(common.duration)
    decisions = tuple(_decisions(common))
    if common.intermediate_log_entry or common.access_log_type not in _ENDS:
        raise Refused("intermediate")
    return Entry(
        start_us=start // _MICROSECOND,
        duration_us=whole_us if duration_us is None else duration_us,
        bytes_sent=response.response_body_bytes,
        bytes_received=request.request_body_bytes,
        flags=frozenset(_flags(common.response_flags)),
        code=response.response_code or 0,
        grpc_status=_grpc_status(response),
        decisions=decisions,
    )


def _microseconds(duration: timedelta | None) -> int | None:
    if duration is None:
        return None
    if not timedelta() <= duration < _TOO_LATE:
        raise Refused("malformed")
    return duration // _MICROSECOND


def _flags(flags: accesslog.ResponseFlags | None) -> Iterator[int]:
    for name, number in _FLAGS.items() if flags else ():
        # One of them is a message, and says it by being there.
        if getattr(flags, name) not in {False, None}:
            yield number


def _grpc_status(response: accesslog.HttpResponseProperties) -> int | None:
    """The status of the trailers; of the headers where an answer has nothing else."""
    for fields in (response.response_trailers, response.response_headers):
        if (text := fields.get("grpc-status")) is not None:
            digits = len(text) in {1, 2} and text.isascii() and text.isdigit()
            return min(int(text), _GRPC_OTHER) if digits else _GRPC_OTHER
    return None


def _decisions(common: accesslog.AccessLogCommon) -> Iterator[Decision]:
    metadata = common.metadata.filter_metadata if common.metadata else {}
    for rollout, value in metadata["canary"].fields.items() if "canary" in metadata else ():
        fields = value.struct_value.fields if value.struct_value else {}
        texts = {name: text.string_value or "" for name, text in fields.items()}
        variant, version, reason = (texts.get(n, "") for n in ("variant", "version", "reason"))
        named = (rollout, variant, version, reason)
        if not all(1 <= len(name.encode()) <= _LONGEST_NAME for name in named):
            raise Refused("malformed")
        unit = _unit(texts["unit"]) if "unit" in texts else None
        yield Decision(rollout, variant, version, reason, unit)


def _unit(text: str) -> int:
    if len(text) != 16 or not set(text) <= set("0123456789abcdef"):
        raise Refused("malformed")
    return int(text, 16)
