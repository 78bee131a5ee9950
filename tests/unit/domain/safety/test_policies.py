"""Policies are data: what is read is what was written, and nothing else is read."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from typing import Any

import pytest

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.promotion import RequiredEvidence
from gaelp_ray.domain.safety.caps import Acceleration, ActionCap, ApprovalAbove, BidCap, SpendCap, Velocity
from gaelp_ray.domain.safety.dry_run import Recorded, replay
from gaelp_ray.domain.safety.fences import AllowedHours, Categories, Regions
from gaelp_ray.domain.safety.policies import RULES, Attach, Attachment, Policy, read, write
from gaelp_ray.domain.safety.rewards import RewardClip
from gaelp_ray.domain.safety.stops import Anomaly, Drawdown, RewardHacking, Side
from gaelp_ray.domain.safety.verdicts import Action, Measured, Severity
from gaelp_ray.domain.windows import Period
from tests.builders import T0

EVERY_RULE = (
    BidCap(max_micros=5, on_breach=Severity.DENY),
    ActionCap(max_micros=6),
    SpendCap(period=Period.WEEK, max_micros=7),
    Velocity(max_micros_per_hour=8),
    Acceleration(max_percent=300, floor_micros=9),
    ApprovalAbove(amount_micros=10, people=3),
    Drawdown(max_micros=11),
    AllowedHours(timezone="Europe/Berlin", hours=("mon-fri 08:00-20:00",)),
    Regions(allowed=("DE", "US-CA")),
    Categories(blocked=("gambling",)),
    Anomaly(metric="ctr", max_z=4.5, side=Side.ABOVE),
    RewardHacking(outcome="conversions"),
    RewardClip(low=-1, high=1.5),
    RequiredEvidence(min_seeds=20, safety_metric="overspend", max_safety=0.01),
)


def test_every_rule_survives_being_written() -> None:
    assert {rule.kind for rule in EVERY_RULE} == set(RULES)
    policy = Policy("all", EVERY_RULE, "EUR", version=2, id=5)
    document = json.loads(json.dumps(write(policy)))
    assert read("all", document, version=2, policy_id=5) == policy


BAD: dict[str, tuple[Any, str]] = {
    "no object": ([], "must be an object"),
    "no rules": ({}, "must be a list"),
    "no rule in them": ({"rules": []}, "1 to 100 rules"),
    "too many": ({"rules": [{"rule": "regions", "allowed": ["DE"]}] * 101}, "1 to 100 rules"),
    "rules in a text": ({"rules": "all"}, "must be a list"),
    "a rule in a text": ({"rules": ["bid_cap"]}, r"`rules\[0\]` must be an object"),
    "an unknown rule": ({"rules": [{"rule": "vibes"}]}, "must be one of .*bid_cap.*; got 'vibes'"),
    "a rule without a kind": ({"rules": [{}]}, "must be one of"),
    "an unknown field": ({"rule": [], "rules": []}, "has no 'rule'"),
    "an unknown field of a rule": (
        {"currency": "EUR", "rules": [{"rule": "bid_cap", "max_micros": 1, "max": 2}]}, "has no 'max'",
    ),
    "a missing field": ({"currency": "EUR", "rules": [{"rule": "bid_cap"}]}, "max_micros` is missing"),
    "a float where micros are meant": (
        {"currency": "EUR", "rules": [{"rule": "bid_cap", "max_micros": 1.0}]}, "must be a whole number",
    ),
    "a boolean where micros are meant": (
        {"currency": "EUR", "rules": [{"rule": "bid_cap", "max_micros": True}]}, "must be a whole number",
    ),
    "a text where micros are meant": (
        {"currency": "EUR", "rules": [{"rule": "bid_cap", "max_micros": "1"}]}, "must be a whole number",
    ),
    "NaN for a score": (
        {"rules": [{"rule": "anomaly", "metric": "m", "max_z": math.nan}]}, "finite number above 0",
    ),
    "an unknown severity": (
        {"currency": "EUR", "rules": [{"rule": "bid_cap", "max_micros": 1, "on_breach": "warn"}]},
        "must be one of clip, deny, halt",
    ),
    "a text where a list is meant": ({"rules": [{"rule": "regions", "allowed": "DE"}]}, "must be a list"),
    "a number where a text is meant": ({"rules": [{"rule": "regions", "allowed": [1]}]}, "must be a text"),
    "amounts without a currency": (
        {"rules": [{"rule": "bid_cap", "max_micros": 1}]}, "must name their `currency`",
    ),
    "a currency in words": (
        {"currency": "euro", "rules": [{"rule": "bid_cap", "max_micros": 1}]}, "three capital letters",
    ),
    "null where a number is meant": (
        {"currency": "EUR", "rules": [{"rule": "bid_cap", "max_micros": None}]}, "must be a whole number",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_policy_is_refused_in_words(case: str) -> None:
    document, words = BAD[case]
    with pytest.raises(InvalidInput, match=words):
        read("p", document)


@pytest.mark.parametrize(
    ("scope", "subject"),
    [(Attach.AGENT, "bidder"), (Attach.AGENT, ""), (Attach.TYPE, "robot"), (Attach.GLOBAL, "1")],
)
def test_a_policy_is_attached_to_something_that_can_be(scope: Attach, subject: str) -> None:
    with pytest.raises(InvalidInput):
        Attachment(scope, subject)
    assert Attachment(Attach.TYPE, "real_deployment").subject == "real_deployment"


def asked(minutes: int, amount: int = 100) -> Recorded:
    action = Action(agent_id=1, currency="EUR", amount_micros=amount)
    return Recorded(T0 + timedelta(minutes=minutes), action, Measured())


def verdicts(policy: Policy, *history: Recorded) -> list[str]:
    return [type(each.verdict).__name__.lower() for each in replay([policy], history)]


def test_a_dry_run_counts_what_the_policy_would_have_let_through() -> None:
    day = Policy("day", (SpendCap(period=Period.DAY, max_micros=250),), "EUR")
    assert verdicts(day, asked(0), asked(1), asked(2), asked(3, 50), asked(60 * 24)) == [
        "allow", "allow", "deny", "allow", "allow",
    ]  # fmt: skip


def test_a_dry_run_counts_clipped_actions_as_they_were_cut() -> None:
    rules = (ActionCap(max_micros=60), SpendCap(period=Period.TOTAL, max_micros=120))
    assert verdicts(Policy("cut", rules, "EUR"), asked(0, 60), asked(1, 60), asked(2, 1)) == [
        "allow", "allow", "deny",
    ]  # fmt: skip


def test_a_dry_run_measures_the_last_two_hours() -> None:
    pace = Policy("pace", (Velocity(max_micros_per_hour=100),), "EUR")
    assert verdicts(pace, asked(0), asked(59), asked(60)) == ["allow", "deny", "allow"]
    push = Policy("push", (Acceleration(max_percent=200, floor_micros=50),), "EUR")
    assert verdicts(push, asked(0), asked(60, 200), asked(61, 1), asked(240, 101)) == [
        "allow", "allow", "deny", "deny",
    ]  # fmt: skip


def test_a_dry_run_takes_history_in_the_order_of_time() -> None:
    cap = Policy("cap", (SpendCap(period=Period.TOTAL, max_micros=100),), "EUR")
    late, early = asked(5), asked(1)
    assert [each.recorded for each in replay([cap], [late, early])] == [early, late]
