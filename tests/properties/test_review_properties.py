"""What is true of every review."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gaelp_ray.domain.safety.caps import Acceleration, ActionCap, ApprovalAbove, BidCap, SpendCap, Velocity
from gaelp_ray.domain.safety.fences import AllowedHours, Categories, Regions
from gaelp_ray.domain.safety.policies import Policy, Rule, read, write
from gaelp_ray.domain.safety.review import review
from gaelp_ray.domain.safety.stops import Anomaly, Drawdown
from gaelp_ray.domain.safety.verdicts import Action, Allow, Clip, Deny, Halt, Measured, Severity, Verdict
from gaelp_ray.domain.windows import Period
from tests.builders import T0

MICROS = st.integers(1, 60)
SEVERITY = st.sampled_from(Severity)
STOP = st.sampled_from([Severity.DENY, Severity.HALT])
RULES: st.SearchStrategy[Any] = st.one_of(
    st.builds(BidCap, max_micros=MICROS, on_breach=SEVERITY),
    st.builds(ActionCap, max_micros=MICROS, on_breach=SEVERITY),
    st.builds(SpendCap, period=st.sampled_from(Period), max_micros=MICROS, on_breach=SEVERITY),
    st.builds(Velocity, max_micros_per_hour=MICROS, on_breach=SEVERITY),
    st.builds(Acceleration, max_percent=st.integers(50, 300), floor_micros=MICROS, on_breach=SEVERITY),
    st.builds(ApprovalAbove, amount_micros=MICROS),
    st.builds(Drawdown, max_micros=MICROS, on_breach=STOP),
    st.builds(AllowedHours, timezone=st.just("UTC"), hours=st.just(("daily 08:00-20:00",)), on_breach=STOP),
    st.builds(Regions, allowed=st.just(("DE",)), on_breach=STOP),
    st.builds(Categories, blocked=st.just(("gambling",)), on_breach=STOP),
    st.builds(Anomaly, metric=st.just("ctr"), max_z=st.floats(0.5, 9), min_samples=st.just(3)),
)
POLICIES = st.lists(
    st.builds(
        Policy, name=st.just("p"), rules=st.lists(RULES, min_size=1, max_size=4).map(tuple),
        currency=st.sampled_from(["EUR", "EUR", "EUR", "USD"]),
    ),
    max_size=3,
)  # fmt: skip
NUMBERS = st.integers(-5, 80) | st.sampled_from([math.nan, math.inf, -math.inf, 7.0, True, None])
ACTIONS = st.builds(
    Action,
    agent_id=st.just(1),
    currency=st.just("EUR"),
    amount_micros=st.integers(1, 80) | NUMBERS,
    bid_micros=st.none() | st.integers(1, 80) | NUMBERS,
    region=st.sampled_from(["DE", "DE-BY", "FR", None]),
    categories=st.sampled_from([(), ("sport",), ("gambling",)]),
)
MEASURED = st.builds(
    Measured,
    spent_micros=st.dictionaries(st.sampled_from(Period), NUMBERS | st.just(0)),
    last_hour_micros=st.just(0) | NUMBERS,
    hour_before_micros=st.just(0) | NUMBERS,
    profit_micros=st.just(0) | NUMBERS,
    peak_profit_micros=st.just(0) | NUMBERS,
    series=st.fixed_dictionaries({"ctr": st.lists(st.floats(), max_size=6).map(tuple)}),
    approved_micros=st.just(0) | NUMBERS,
    margin_micros=st.just(0) | st.integers(0, 40) | NUMBERS,
)
TIMES = st.integers(0, 47).map(lambda half: T0 + timedelta(minutes=30 * half))


def is_int(value: object) -> bool:
    return type(value) is int


def keeps(rule: Rule, action: Action, measured: Measured, hour: int) -> bool:  # noqa: C901, PLR0911
    """Each rule once more, in other words."""
    amount = action.amount_micros + measured.margin_micros
    last, before = measured.last_hour_micros, measured.hour_before_micros
    match rule:
        case BidCap():
            return action.bid_micros is None or action.bid_micros in range(1, rule.max_micros + 1)
        case ActionCap():
            return amount in range(1, rule.max_micros + 1)
        case SpendCap():
            spent: Any = measured.spent_micros.get(rule.period)
            return is_int(spent) and spent + amount <= rule.max_micros
        case Velocity():
            return is_int(last) and last + amount <= rule.max_micros_per_hour  # type: ignore[operator]
        case Acceleration():
            both = is_int(last) and is_int(before)
            return both and (last + amount) * 100 <= rule.max_percent * max(before, rule.floor_micros)  # type: ignore[operator,type-var]
        case ApprovalAbove():
            approved = measured.approved_micros
            return amount <= rule.amount_micros or (is_int(approved) and amount <= approved)
        case Drawdown():
            now, peak = measured.profit_micros, measured.peak_profit_micros
            return is_int(now) and is_int(peak) and peak - now < rule.max_micros  # type: ignore[operator]
        case AllowedHours():
            return 8 <= hour < 20
        case Regions():
            return action.region in ("DE", "DE-BY")
        case Categories():
            return "gambling" not in action.categories
        case _:
            return all(map(math.isfinite, measured.series["ctr"]))


def looseness(verdict: Verdict) -> tuple[int, int, float]:
    """Grows with what an agent may do."""
    if isinstance(verdict, Allow | Clip):
        bid = math.inf if verdict.action.bid_micros is None else verdict.action.bid_micros
        return 2, verdict.action.amount_micros, bid
    return int(isinstance(verdict, Deny)), 0, 0


@given(ACTIONS, POLICIES, MEASURED, TIMES)
def test_nothing_is_allowed_that_a_rule_forbids(
    action: Action, policies: list[Policy], measured: Measured, now: Any
) -> None:
    verdict = review(action, policies, measured, now)
    assert verdict == review(action, policies, measured, now)
    if isinstance(verdict, Deny | Halt):
        assert verdict.reasons
        return
    done = verdict.action
    assert is_int(done.amount_micros)
    assert done.amount_micros > 0
    assert is_int(measured.margin_micros)
    assert measured.margin_micros >= 0
    assert done.bid_micros is None or (is_int(done.bid_micros) and done.bid_micros > 0)
    for policy in policies:
        assert all(keeps(rule, done, measured, now.hour) for rule in policy.rules)


@given(ACTIONS, POLICIES, MEASURED, TIMES)
def test_an_action_is_clipped_once(
    action: Action, policies: list[Policy], measured: Measured, now: Any
) -> None:
    verdict = review(action, policies, measured, now)
    if isinstance(verdict, Clip):
        assert verdict.action != action
        assert verdict.action.amount_micros <= action.amount_micros
        assert review(verdict.action, policies, measured, now) == Allow(verdict.action)


@given(ACTIONS, POLICIES, POLICIES, MEASURED, TIMES)
def test_one_more_policy_never_makes_the_outcome_looser(
    action: Action, policies: list[Policy], more: list[Policy], measured: Measured, now: Any
) -> None:
    before = looseness(review(action, policies, measured, now))
    after = looseness(review(action, policies + more, measured, now))
    assert all(new <= old for new, old in zip(after, before, strict=True))
    assert after == looseness(review(action, more + policies, measured, now))


@given(POLICIES)
def test_a_policy_survives_being_written(policies: list[Policy]) -> None:
    for policy in policies:
        assert read(policy.name, write(policy)) == policy
