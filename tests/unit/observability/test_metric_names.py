"""Every metric has a name, a meaning and a shape that Prometheus takes."""

from __future__ import annotations

import re

import pytest

from gaelp_ray.observability import metrics
from gaelp_ray.observability.metrics import Kind, Metric

METRICS = [value for value in vars(metrics).values() if isinstance(value, Metric)]


def test_there_are_metrics_and_no_two_share_a_name() -> None:
    assert len(METRICS) > 5
    assert len({metric.name for metric in METRICS}) == len(METRICS)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_follows_the_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"gaelp_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.description.endswith(".")
    assert metric.name.endswith("_total") is (metric.kind is Kind.COUNTER)
    assert bool(metric.buckets) is (metric.kind is Kind.HISTOGRAM)
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert all(re.fullmatch("[a-z_]+", label) for label in metric.labels)
