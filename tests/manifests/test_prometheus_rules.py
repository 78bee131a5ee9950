"""The alerts that ship are of the shape that Prometheus reads, and ask for metrics that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gaelp_ray.observability import metrics
from gaelp_ray.observability.metrics import Kind, Metric

RULES = Path(__file__).parents[2] / "cluster" / "prometheus" / "gaelp-rules.yaml"
GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}

#: Shown by the API itself; everything else goes through Ray's exporter, which adds its prefix.
SERVED = {metrics.JOBS, metrics.AGENTS, metrics.BUDGETS, metrics.BUDGET_LIMIT, metrics.BUDGET_USED}
PARTS = {Kind.HISTOGRAM: ("_bucket", "_count", "_sum")}
_SELECTOR = re.compile(r"\b((?:ray_)?gaelp_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)(?:=|!=|=~|!~)"[^"]*"\Z')
_DURATION = re.compile(r"([0-9]+(ms|[smhdwy]))+\Z")


def exposed() -> dict[str, Metric]:
    """Every metric by each name under which Prometheus sees it."""
    found = {}
    for metric in vars(metrics).values():
        if isinstance(metric, Metric):
            prefix = "" if metric in SERVED else "ray_"
            found |= {f"{prefix}{metric.name}{part}": metric for part in PARTS.get(metric.kind, ("",))}
    return found


def test_the_file_holds_what_prometheus_expects_and_nothing_else() -> None:
    assert set(yaml.safe_load(RULES.read_text())) == {"groups"}
    names = [group["name"] for group in GROUPS]
    assert sorted(names) == ["audit", "budget", "ledger", "safety", "scheduler"]
    assert all(set(group) == {"name", "rules"} and group["rules"] for group in GROUPS)
    assert len(ALERTS) == sum(len(group["rules"]) for group in GROUPS), "alerts have names of their own"


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_whole(name: str) -> None:
    rule = ALERTS[name]
    assert set(rule) - {"for"} == {"alert", "expr", "labels", "annotations"}
    assert re.fullmatch(r"Gaelp[A-Z]\w+", name)
    assert _DURATION.match(rule.get("for", "1m"))
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"].keys() == {"summary", "description"}
    for template in rule["annotations"].values():
        assert template.count("{{") == template.count("}}")


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_asks_for_metrics_and_labels_that_exist(name: str) -> None:
    expression, known = ALERTS[name]["expr"], exposed()
    for opening, closing in ("()", "[]", "{}"):
        assert expression.count(opening) == expression.count(closing)
    asked = _SELECTOR.findall(expression)
    assert asked
    for metric, matchers in asked:
        assert metric in known, f"{metric} is exposed by nothing"
        for matcher in filter(None, matchers.split(",")):
            found = _MATCHER.match(matcher.strip())
            assert found, matcher
            assert found[1] in known[metric].labels
    labels = {label for metric, _ in asked for label in known[metric].labels} | {"le"}
    grouped = re.findall(r"\bby \(([^)]*)\)", expression)
    assert {label.strip() for names in grouped for label in names.split(",")} <= labels


@pytest.mark.parametrize("name", ALERTS)
def test_a_counter_is_asked_for_its_growth_and_a_gauge_for_its_value(name: str) -> None:
    expression, known = ALERTS[name]["expr"], exposed()
    for metric, _ in _SELECTOR.findall(expression):
        grows = known[metric].kind is not Kind.GAUGE and f"absent({metric})" not in expression
        assert not grows or re.search(rf"(rate|increase)\({metric}[\[{{]", expression), metric


def test_what_must_never_be_is_alerted_at_once() -> None:
    for metric in (metrics.AUDIT_BREAKS, metrics.LEDGER_DIFFERENCES):
        rules = [rule for rule in ALERTS.values() if f"max(ray_{metric.name}) > 0" in rule["expr"]]
        assert [(rule["labels"]["severity"], "for" in rule) for rule in rules] == [("critical", False)]
