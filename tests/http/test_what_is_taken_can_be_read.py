"""Whatever a door takes, every reading door can show; what it does not take it refuses in a sentence."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import Postgres
from tests.replica import Replica

#: More than a door should meet, and what people really write.
TEXTS = st.text(max_size=30) | st.sampled_from(
    [
        "",
        " ",
        "a",
        "Spring ",
        "\u017fpring",
        "..",
        "a/b",
        "%2F",
        "02",
        "\u0663",
        "system",
        "gaelp:x",
        "=1+1",
        "\x1b[31m",
    ]
)
INSTANTS = st.sampled_from(
    [
        "2030-01-01T00:00:00Z",
        "9999-12-31T23:59:59-12:00",
        "1970-01-01T00:00:00Z",
        "8999-12-31T23:59:59Z",
        "2020",
    ]
) | st.datetimes().map(lambda moment: f"{moment.isoformat()}+00:00")
NUMBERS = (
    st.integers(-(2**70), 2**70) | st.floats() | st.sampled_from([0, 1, 2**63 - 1, 2**63, 10**400, 1e308])
)
QUANTITIES = st.sampled_from(["512", "1Ki", "1e3", "0.5", "500m", "2Gi", "0", "-1", "9Ei", "1e999"]) | NUMBERS
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
_NAMES = itertools.count()
OBJECTS = st.dictionaries(TEXTS, DOCUMENTS, max_size=4)


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A few of them: one that is refused must not hide what the others do."""
    chosen = st.sets(st.sampled_from(sorted(fields)), max_size=2)
    return chosen.flatmap(lambda names: st.fixed_dictionaries({name: fields[name] for name in sorted(names)}))


VERSIONS = optional(
    version=TEXTS | st.sampled_from(["1.0", "v2"]),
    config=OBJECTS,
    description=TEXTS,
    requirements=st.lists(TEXTS, max_size=3),
    resource_requirements=st.dictionaries(st.sampled_from(["cpu", "memory", "gpu", "storage"]), QUANTITIES),
    environment_vars=st.dictionaries(TEXTS | st.just("A"), TEXTS, max_size=2),
    secrets=st.dictionaries(st.just("A"), TEXTS, max_size=1),
    budget_limit=NUMBERS,
)
JOBS = optional(
    name=TEXTS,
    priority=NUMBERS | st.integers(1, 10),
    hyperparameters=OBJECTS,
    training_config=OBJECTS,
    resource_requirements=st.dictionaries(st.sampled_from(["cpu", "memory", "gpu"]), QUANTITIES),
    environment_vars=st.dictionaries(TEXTS | st.just("A"), TEXTS, max_size=2),
    seed=NUMBERS,
    timeout_seconds=NUMBERS,
    workers=NUMBERS | st.integers(1, 4),
    label_selector=st.dictionaries(TEXTS, TEXTS, max_size=2),
    deadline=INSTANTS,
    expected_duration_seconds=NUMBERS,
)
METRICS = st.fixed_dictionaries(
    {"metrics": st.dictionaries(TEXTS | st.just("ctr"), NUMBERS, min_size=1, max_size=3)},
    optional={"step": NUMBERS, "source": TEXTS, "at": INSTANTS},
)
BUDGETS = st.fixed_dictionaries(
    {"scope": st.sampled_from(["team", "user", "campaign"]), "subject": TEXTS, "money": st.just("simulated")},
    optional={
        "timezone": TEXTS | st.just("Europe/Berlin"),
        "closes_at": INSTANTS,
        "limits_micros": st.dictionaries(
            st.sampled_from(["hour", "day", "month", "total"]), NUMBERS, max_size=2
        ),
    },
)
HOLDS = st.fixed_dictionaries(
    {"key": TEXTS, "amount_micros": NUMBERS | st.integers(1, 10)},
    optional={"ttl_seconds": NUMBERS, "margin_micros": NUMBERS, "campaign": TEXTS},
)
SPENDS = st.fixed_dictionaries(
    {"key": TEXTS, "amount_micros": st.integers(1, 10)}, optional={"occurred_at": INSTANTS, "campaign": TEXTS}
)
QUOTAS = optional(
    team=TEXTS,
    limit=st.dictionaries(
        st.sampled_from(["cpu", "memory", "gpu", "jobs"]), QUANTITIES | st.just("unlimited")
    ),
    weight=NUMBERS,
    queued=NUMBERS,
)
SWITCHES = st.fixed_dictionaries(
    {"scope": st.sampled_from(["agent", "user", "campaign"]), "subject": TEXTS, "reason": TEXTS}
)
RULES = optional(rule=TEXTS, blocked=st.lists(TEXTS, max_size=3), allowed=st.lists(TEXTS, max_size=3)).map(
    lambda odd: {"rule": "categories", "blocked": ["arms"]} | odd
)
POLICIES = st.fixed_dictionaries(
    {"rules": st.lists(RULES, min_size=1, max_size=2)}, optional={"currency": TEXTS | st.just("EUR")}
)
REPORT = {"order_key": "k", "number": 1, "campaign": "spring", "currency": "USD", "cost_micros": 5}
REPORTS = optional(
    order_key=TEXTS, number=NUMBERS, campaign=TEXTS, currency=TEXTS, cost_micros=NUMBERS, reported_at=INSTANTS
).map(lambda odd: {"reports": [REPORT | {"reported_at": "2025-01-01T00:00:00Z"} | odd]})


@pytest.fixture(scope="module")
def world(postgres: Postgres) -> Any:
    with postgres.database() as url, Replica(url) as replica:
        agent = replica.agent("root")
        budget = replica.post("/budgets", {"scope": "team", "subject": "ads", "money": "simulated"}).json()
        yield replica, agent["id"], budget["id"]


def readers(agent: int, budget: int) -> list[str]:
    return [
        "/agents",
        f"/agents/{agent}/versions",
        f"/agents/{agent}/metrics",
        f"/agents/{agent}/policies",
        "/jobs",
        "/queue",
        "/budgets",
        f"/budgets/{budget}/holds",
        f"/budgets/{budget}/statement?since=1970-01-01T00:00:00Z",
        f"/budgets/{budget}/statement?since=1970-01-01T00:00:00Z&format=csv",
        "/budgets/alerts",
        "/quotas",
        "/holds",
        "/kill-switches",
        "/policies",
        "/violations",
        "/approvals",
        "/audit",
        "/audit/verify",
        "/roles",
        "/savings",
        "/status",
        "/compliance?since=1970-01-01T00:00:00Z&until=8999-01-01T00:00:00Z",
        "/platforms/ads/differences?since=1970-01-01T00:00:00Z&until=8999-01-01T00:00:00Z",
        "/metrics",
    ]


def writers(agent: int, budget: int) -> dict[str, tuple[str, str, st.SearchStrategy[Any]]]:
    return {
        "an agent": ("POST", "/agents", VERSIONS.map(_named)),
        "a version": ("POST", f"/agents/{agent}/versions", VERSIONS.map(_without_limit)),
        "a job": ("POST", "/jobs", JOBS.map(lambda body: {"agent_id": agent} | body)),
        "a dry run": ("POST", "/jobs:plan", JOBS.map(lambda body: {"agent_id": agent} | body)),
        "metrics": ("POST", f"/agents/{agent}/metrics", METRICS),
        "a budget": ("POST", "/budgets", BUDGETS),
        "a hold of money": ("POST", f"/budgets/{budget}/holds", HOLDS),
        "a spend": ("POST", f"/budgets/{budget}/spends", SPENDS),
        "a quota": ("PUT", "/quotas/users/ann", QUOTAS),
        "a switch": ("POST", "/kill-switches", SWITCHES),
        "a policy": ("POST", "/policies/p", POLICIES),
        "a report": ("POST", "/platforms/ads/reports", REPORTS),
    }


def _named(body: dict[str, Any]) -> dict[str, Any]:
    return {"name": f"agent {next(_NAMES)}", "type": "simulation"} | body


def _without_limit(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in ("budget_limit", "description")}


@pytest.mark.parametrize("case", writers(1, 1))
def test_what_is_taken_can_be_read(world: Any, case: str) -> None:
    replica, agent, budget = world
    method, path, bodies = writers(agent, budget)[case]

    seen: Counter[int] = Counter()

    @settings(max_examples=60)
    @given(bodies)
    def taken_or_refused(body: Any) -> None:
        answer = replica.call(method, path, content=json.dumps(body).encode())
        seen[answer.status_code // 100] += 1
        assert answer.status_code < 500, (body, answer.text)
        if answer.status_code >= 400:
            assert len(answer.json()["detail"]) > 10

    taken_or_refused()
    assert seen[2], "some were taken"
    for each in readers(agent, budget):
        shown = replica.get(each)
        assert shown.status_code == 200, (each, shown.text)
    for job in replica.get("/jobs").json()["items"][:5]:
        for part in ("", "/why", "/events", "/attempts", "/checkpoints", "/logs", "/preemptions"):
            assert replica.get(f"/jobs/{job['id']}{part}").status_code == 200
