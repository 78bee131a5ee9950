"""The product's metrics through Ray's own exporter (``:8080/metrics`` on every node)."""

from __future__ import annotations

from functools import cache
from typing import Any

from ray.util import metrics as ray_metrics

from gaelp_ray.observability.metrics import Kind, Metric


@cache
def _instrument(metric: Metric) -> Any:
    if metric.kind is Kind.COUNTER:
        # Ray adds `_total` by itself.
        name = metric.name.removesuffix("_total")
        return ray_metrics.Counter(name, metric.description, tag_keys=metric.labels)
    if metric.kind is Kind.HISTOGRAM:
        return ray_metrics.Histogram(
            metric.name, metric.description, boundaries=list(metric.buckets), tag_keys=metric.labels
        )
    return ray_metrics.Gauge(metric.name, metric.description, tag_keys=metric.labels)


def count(metric: Metric, amount: float = 1, **labels: str) -> None:
    if amount > 0:
        _instrument(metric).inc(amount, tags=labels)


def gauge(metric: Metric, value: float, **labels: str) -> None:
    _instrument(metric).set(value, tags=labels)


def observe(metric: Metric, value: float, **labels: str) -> None:
    _instrument(metric).observe(value, tags=labels)
