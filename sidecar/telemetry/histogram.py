"""Durations that an engine counted in its own buckets, as an OpenTelemetry histogram.

`Histogram.record()` costs microseconds, and the SDK has no observable histogram. So engines count
in a few nanoseconds, and whoever reads the metrics adds the counts to what the SDK has collected:
`MetricReader._receive_metrics` is the place that the SDK names for subclasses.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
)

from sidecar.telemetry.sources import Durations
from sidecar.telemetry.spans import SCOPE

DURATION = "canary.decision.duration"
_WHAT = "How long decisions took, from the arrival of Envoy's call to the answer."


class _Seen(NamedTuple):
    at_ns: int
    counts: tuple[int, ...]
    sum_s: float


class Adding(MetricReader):
    """Adds the histogram of `durations`, once that is set, to all that it reads.

    `delta`: each reading tells only what came since the one before.
    """

    durations: Callable[[], Durations] | None = None
    delta = False
    _start: _Seen | None = None

    def _receive_metrics(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> None:
        if self.durations and metrics_data:
            metrics_data = _added(metrics_data, self._metric(self.durations()))
        super()._receive_metrics(metrics_data, timeout_millis, **kwargs)  # type: ignore[safe-super]

    def _metric(self, durations: Durations) -> Metric:
        now = _Seen(time.time_ns(), durations.counts, durations.sum_s)
        start = self._start or _Seen(_PROCESS_START_NS, (0,) * len(now.counts), 0.0)
        if self.delta:
            self._start = now
        counts = [count - before for count, before in zip(now.counts, start.counts, strict=True)]
        nothing: Any = None
        point = HistogramDataPoint(
            attributes={},
            start_time_unix_nano=start.at_ns,
            time_unix_nano=now.at_ns,
            count=sum(counts),
            sum=now.sum_s - start.sum_s,
            bucket_counts=counts,
            explicit_bounds=durations.bounds_s,
            min=nothing,
            max=nothing,
        )
        temporality = AggregationTemporality.DELTA if self.delta else _CUMULATIVE
        return Metric(DURATION, _WHAT, "s", Histogram([point], temporality))


class PrometheusReader(Adding, PrometheusMetricReader):
    """Read by a scraper."""


class PeriodicReader(Adding, PeriodicExportingMetricReader):
    """Reads by itself and exports."""


_CUMULATIVE = AggregationTemporality.CUMULATIVE
_PROCESS_START_NS = time.time_ns()


def _added(data: MetricsData, metric: Metric) -> MetricsData:
    """Put a metric beside those of our own scope."""
    return replace(
        data,
        resource_metrics=[
            replace(
                resource,
                scope_metrics=[
                    replace(scope, metrics=[*scope.metrics, metric])
                    if scope.scope.name == SCOPE
                    else scope
                    for scope in resource.scope_metrics
                ],
            )
            for resource in data.resource_metrics
        ],
    )
