"""Each rule of safety policies, at its edges."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.safety.caps import Acceleration, ActionCap, ApprovalAbove, BidCap, SpendCap, Velocity
from gaelp_ray.domain.safety.fences import AllowedHours, Categories, Regions
from gaelp_ray.domain.safety.policies import Policy
from gaelp_ray.domain.safety.review import review
from gaelp_ray.domain.safety.rewards import RewardClip, RewardWatch, clip_reward
from gaelp_ray.domain.safety.stops import Anomaly, Drawdown, RewardHacking, Side
from gaelp_ray.domain.safety.verdicts import Action, Allow, Clip, Deny, Halt, Measured, Severity, Verdict
from gaelp_ray.domain.windows import Period

NOON = datetime(2025, 3, 3, 12, 0, tzinfo=UTC)
CLIP, DENY, HALT = Severity.CLIP, Severity.DENY, Severity.HALT


def an_action(**fields: Any) -> Action:
    return Action(**{"agent_id": 1, "currency": "EUR", "amount_micros": 100} | fields)


def judged(
    rule: Any, action: Action | None = None, measured: Measured | None = None, now: datetime = NOON
) -> Verdict:
    return review(action or an_action(), [Policy("p", (rule,), "EUR")], measured or Measured(), now)


def word(verdict: Verdict) -> str:
    """The verdict in a word, with what a clipped action was cut to."""
    if isinstance(verdict, Clip):
        return f"clip {verdict.action.amount_micros}/{verdict.action.bid_micros}"
    return type(verdict).__name__.lower()


def spent(micros: Any, period: Period = Period.DAY) -> Measured:
    return Measured(spent_micros={period: micros})


def hours(last: Any, before: Any = 0) -> Measured:
    return Measured(last_hour_micros=last, hour_before_micros=before)


def profit(now: Any, peak: Any) -> Measured:
    return Measured(profit_micros=now, peak_profit_micros=peak)


DAY = SpendCap(period=Period.DAY, max_micros=1000)
CASES: dict[str, tuple[Any, Action, Measured, str]] = {
    "a bid at its cap": (BidCap(max_micros=5), an_action(bid_micros=5), Measured(), "allow"),
    "a bid above is cut to it": (BidCap(max_micros=5), an_action(bid_micros=6), Measured(), "clip 100/5"),
    "a bid above is denied where the rule says so": (
        BidCap(max_micros=5, on_breach=DENY), an_action(bid_micros=6), Measured(), "deny",
    ),
    "what bids nothing has no bid cap": (BidCap(max_micros=5), an_action(), Measured(), "allow"),
    "an action at its cap": (ActionCap(max_micros=100), an_action(), Measured(), "allow"),
    "an action above is cut": (ActionCap(max_micros=99), an_action(), Measured(), "clip 99/None"),
    "the last micro of a day": (DAY, an_action(), spent(900), "allow"),
    "one micro too much": (DAY, an_action(), spent(901), "deny"),
    "another window does not count": (DAY, an_action(), spent(5, Period.HOUR), "deny"),
    "nobody knows what was spent": (DAY, an_action(), Measured(), "deny"),
    "what was spent is no number": (DAY, an_action(), spent(math.nan), "deny"),
    "what was spent is a float": (DAY, an_action(), spent(1.0), "deny"),
    "a spend cap may clip to what is left": (
        SpendCap(period=Period.DAY, max_micros=1000, on_breach=CLIP), an_action(), spent(990), "clip 10/None",
    ),
    "nothing is left to clip to": (
        SpendCap(period=Period.DAY, max_micros=1000, on_breach=CLIP), an_action(), spent(1000), "deny",
    ),
    "a spend cap may halt": (
        SpendCap(period=Period.DAY, max_micros=1000, on_breach=HALT), an_action(), spent(1000), "halt",
    ),
    "a window that gave money back has more room": (DAY, an_action(amount_micros=1001), spent(-1), "allow"),
    "an hour at its velocity": (Velocity(max_micros_per_hour=150), an_action(), hours(50), "allow"),
    "an hour above": (Velocity(max_micros_per_hour=150), an_action(), hours(51), "deny"),
    "velocity is not known": (Velocity(max_micros_per_hour=150), an_action(), Measured(), "deny"),
    "twice the hour before": (
        Acceleration(max_percent=200, floor_micros=1), an_action(), hours(100, 100), "allow",
    ),
    "more than twice": (
        Acceleration(max_percent=200, floor_micros=1), an_action(), hours(101, 100), "deny",
    ),
    "a first hour has its floor": (
        Acceleration(max_percent=200, floor_micros=50), an_action(), hours(0, 0), "allow",
    ),
    "and no more": (Acceleration(max_percent=200, floor_micros=49), an_action(), hours(0, 0), "deny"),
    "acceleration is not known": (
        Acceleration(max_percent=200, floor_micros=49), an_action(), Measured(last_hour_micros=0), "deny",
    ),
    "below the amount that needs approval": (
        ApprovalAbove(amount_micros=100), an_action(), Measured(), "allow",
    ),
    "above it": (ApprovalAbove(amount_micros=99), an_action(), Measured(), "deny"),
    "approved": (ApprovalAbove(amount_micros=9), an_action(), Measured(approved_micros=100), "allow"),
    "approved for less": (ApprovalAbove(amount_micros=9), an_action(), Measured(approved_micros=99), "deny"),
    "approved for no number": (
        ApprovalAbove(amount_micros=9), an_action(), Measured(approved_micros=math.inf), "deny",  # type: ignore[arg-type]
    ),
    "a drawdown below its limit": (Drawdown(max_micros=10), an_action(), profit(-9, 0), "allow"),
    "a drawdown at its limit": (Drawdown(max_micros=10), an_action(), profit(90, 100), "halt"),
    "profit is not known": (Drawdown(max_micros=10), an_action(), Measured(), "deny"),
    "profit is no number": (Drawdown(max_micros=10), an_action(), profit(math.nan, 0), "deny"),
    "a region that is allowed": (Regions(allowed=("DE",)), an_action(region="DE"), Measured(), "allow"),
    "a part of it": (Regions(allowed=("US",)), an_action(region="US-CA"), Measured(), "allow"),
    "the whole of an allowed part": (
        Regions(allowed=("US-CA",)), an_action(region="US"), Measured(), "deny",
    ),
    "a region that only begins alike": (
        Regions(allowed=("US-C",)), an_action(region="US-CA"), Measured(), "deny",
    ),
    "another region": (Regions(allowed=("DE",)), an_action(region="FR"), Measured(), "deny"),
    "no region": (Regions(blocked=("DE",)), an_action(), Measured(), "deny"),
    "a blocked region": (Regions(blocked=("DE",)), an_action(region="DE-BY"), Measured(), "deny"),
    "a region with a blocked part": (
        Regions(blocked=("DE-BY",)), an_action(region="DE"), Measured(), "deny",
    ),
    "a region that is not blocked": (Regions(blocked=("DE",)), an_action(region="FR"), Measured(), "allow"),
    "a category that is blocked, however it is written": (
        Categories(blocked=("Gambling",)), an_action(categories=("gambling", "sport")), Measured(), "deny",
    ),
    "categories that are all allowed": (
        Categories(allowed=("sport", "food")), an_action(categories=("Sport",)), Measured(), "allow",
    ),
    "one that is not among them": (
        Categories(allowed=("sport",)), an_action(categories=("sport", "food")), Measured(), "deny",
    ),
    "no category where some are allowed": (Categories(allowed=("sport",)), an_action(), Measured(), "deny"),
    "no category where some are blocked": (Categories(blocked=("sport",)), an_action(), Measured(), "allow"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_rule_is_kept_to_the_micro(case: str) -> None:
    rule, action, measured, expected = CASES[case]
    assert word(judged(rule, action, measured)) == expected


MALFORMED: dict[str, dict[str, Any]] = {
    "NaN": {"amount_micros": math.nan},
    "infinity": {"amount_micros": math.inf},
    "a float": {"amount_micros": 100.0},
    "zero": {"amount_micros": 0},
    "a negative amount": {"amount_micros": -1},
    "a boolean": {"amount_micros": True},
    "a text": {"amount_micros": "100"},
    "more than can be counted": {"amount_micros": 10**30},
    "a bid of NaN": {"bid_micros": math.nan},
    "a bid of minus infinity": {"bid_micros": -math.inf},
    "a bid of zero": {"bid_micros": 0},
    "a region that is no text": {"region": 7},
    "a category that is no text": {"categories": (7,)},
    "categories that are no tuple": {"categories": None},
    "a currency that is no text": {"currency": None},
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_no_number_never_passes(case: str) -> None:
    action = an_action(**MALFORMED[case])
    for policies in ([], [Policy("p", (BidCap(max_micros=5), ActionCap(max_micros=5)), "EUR")]):
        verdict = review(action, policies, Measured(), NOON)
        assert isinstance(verdict, Deny)
        assert [reason.code for reason in verdict.reasons] == ["malformed"]


def test_an_action_in_another_currency_is_denied() -> None:
    verdict = judged(ActionCap(max_micros=10**9), an_action(currency="USD"))
    assert isinstance(verdict, Deny)
    assert verdict.reasons[0].code == "currency"
    no_amounts = Policy("p", (Regions(allowed=("DE",)),))
    assert isinstance(review(an_action(currency="USD", region="DE"), [no_amounts], Measured(), NOON), Allow)


#: Spans, a moment in UTC, and whether it is inside, in Berlin.
TIMES: dict[str, tuple[tuple[str, ...], str, bool]] = {
    "in the middle": (("mon-fri 08:00-20:00",), "2025-03-03T11:00", True),
    "its first minute": (("mon-fri 08:00-20:00",), "2025-03-03T07:00", True),
    "the minute before": (("mon-fri 08:00-20:00",), "2025-03-03T06:59", False),
    "its end is outside": (("mon-fri 08:00-20:00",), "2025-03-03T19:00", False),
    "a weekend": (("mon-fri 08:00-20:00",), "2025-03-02T11:00", False),
    "days around the weekend": (("sat-mon 08:00-20:00",), "2025-03-03T11:00", True),
    "a day outside those": (("sat-mon 08:00-20:00",), "2025-03-04T11:00", False),
    "a night, before midnight": (("sat 22:00-02:00",), "2025-03-01T21:30", True),
    "a night, after midnight": (("sat 22:00-02:00",), "2025-03-02T00:30", True),
    "the night before that": (("sat 22:00-02:00",), "2025-03-01T00:30", False),
    "the night's end": (("sat 22:00-02:00",), "2025-03-02T01:00", False),
    "a whole day ends at midnight": (("sun 00:00-24:00",), "2025-03-02T23:00", False),
    "every day": (("daily 00:00-24:00",), "2025-03-05T03:00", True),
    "one of several": (("mon 08:00-09:00", "mon 12:00-13:00"), "2025-03-03T11:30", True),
    # On 30 March the clock goes from 02:00 to 03:00, on 26 October from 03:00 back to 02:00.
    "before the clock goes forward": (("daily 01:00-02:00",), "2025-03-30T00:30", True),
    "an hour that was skipped never comes": (("daily 02:00-03:00",), "2025-03-30T01:00", False),
    "after the clock went forward": (("daily 03:00-04:00",), "2025-03-30T01:30", True),
    "summer time": (("daily 08:00-09:00",), "2025-07-01T06:30", True),
    "an hour that comes twice, first": (("daily 02:00-03:00",), "2025-10-26T00:30", True),
    "an hour that comes twice, second": (("daily 02:00-03:00",), "2025-10-26T01:30", True),
    "and is over": (("daily 02:00-03:00",), "2025-10-26T02:00", False),
}


@pytest.mark.parametrize("case", TIMES)
def test_hours_are_those_of_the_clock_on_the_wall(case: str) -> None:
    spans, moment, inside = TIMES[case]
    now = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    verdict = judged(AllowedHours(timezone="Europe/Berlin", hours=spans), now=now)
    assert isinstance(verdict, Allow if inside else Deny)


USUAL = tuple(float(n % 5) for n in range(40))  # median 2, deviation 1
SERIES: dict[str, tuple[Any, dict[str, tuple[Any, ...]], str]] = {
    "a usual value": (Anomaly(metric="ctr", max_z=3), {"ctr": (*USUAL, 4.0)}, "allow"),
    "a value far above": (Anomaly(metric="ctr", max_z=3), {"ctr": (*USUAL, 7.0)}, "halt"),
    "a value far below": (Anomaly(metric="ctr", max_z=3), {"ctr": (*USUAL, -4.0)}, "halt"),
    "below, where only above matters": (
        Anomaly(metric="ctr", max_z=3, side=Side.ABOVE), {"ctr": (*USUAL, -4.0)}, "allow",
    ),
    "below, where only below matters": (
        Anomaly(metric="ctr", max_z=3, side=Side.BELOW), {"ctr": (*USUAL, -4.0)}, "halt",
    ),
    "outliers of the past do not hide it": (
        Anomaly(metric="ctr", max_z=3), {"ctr": (*USUAL, 1e9, 1e9, 1e9, 7.0)}, "halt",
    ),
    "too few values to say": (Anomaly(metric="ctr", max_z=3), {"ctr": (*USUAL[:19], 1e9)}, "allow"),
    "just enough": (Anomaly(metric="ctr", max_z=3), {"ctr": (*USUAL[:20], 1e9)}, "halt"),
    "no values at all": (Anomaly(metric="ctr", max_z=3), {}, "allow"),
    "a NaN among them": (Anomaly(metric="ctr", max_z=3), {"ctr": (*USUAL, math.nan)}, "deny"),
    "an infinity": (Anomaly(metric="ctr", max_z=3), {"ctr": (*USUAL, math.inf)}, "deny"),
    "a text": (Anomaly(metric="ctr", max_z=3), {"ctr": (*USUAL, "7")}, "deny"),
    "a value that overflows": (Anomaly(metric="ctr", max_z=3), {"ctr": (*[-1.7e308] * 30, 1.7e308)}, "halt"),
    "what never moved and does not": (Anomaly(metric="ctr", max_z=3), {"ctr": (1.0,) * 30}, "allow"),
    "what never moved and does": (Anomaly(metric="ctr", max_z=3), {"ctr": (*(1.0,) * 30, 1.1)}, "halt"),
    "within the least deviation": (
        Anomaly(metric="ctr", max_z=3, min_scale=0.1), {"ctr": (*(1.0,) * 30, 1.1)}, "allow",
    ),
    "reward and profit rise": (
        RewardHacking(), {"reward": (*USUAL, *[99.0] * 40), "profit": (*USUAL, *[9.0] * 40)}, "allow",
    ),
    "reward rises and profit does not": (
        RewardHacking(), {"reward": (*USUAL, *[99.0] * 40), "profit": USUAL}, "halt",
    ),
    "reward rises and profit falls": (
        RewardHacking(), {"reward": (*USUAL, *[99.0] * 40), "profit": (*USUAL, *[-9.0] * 40)}, "halt",
    ),
    "neither rises": (RewardHacking(), {"reward": USUAL, "profit": USUAL}, "allow"),
    "reward rises a little": (
        RewardHacking(), {"reward": (*USUAL, *[3.0] * 40), "profit": USUAL}, "allow",
    ),
    "too few rewards to say": (RewardHacking(), {"reward": (1.0, 9.0), "profit": (1.0, 1.0)}, "allow"),
    "a reward that is no number": (RewardHacking(), {"reward": (math.nan,), "profit": ()}, "deny"),
}  # fmt: skip


@pytest.mark.parametrize("case", SERIES)
def test_results_that_are_wrong_stop_an_agent(case: str) -> None:
    rule, series, expected = SERIES[case]
    assert word(judged(rule, measured=Measured(series=series))) == expected


REFUSED: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "a cap of zero": (BidCap, {"max_micros": 0}),
    "a cap of NaN": (BidCap, {"max_micros": math.nan}),
    "a cap as float": (ActionCap, {"max_micros": 1.5}),
    "a boolean cap": (SpendCap, {"period": Period.DAY, "max_micros": True}),
    "a velocity of 10**30": (Velocity, {"max_micros_per_hour": 10**30}),
    "no percent": (Acceleration, {"max_percent": 0, "floor_micros": 1}),
    "no floor": (Acceleration, {"max_percent": 100, "floor_micros": 0}),
    "approval by nobody": (ApprovalAbove, {"amount_micros": 1, "people": 0}),
    "a drawdown that clips": (Drawdown, {"max_micros": 1, "on_breach": CLIP}),
    "an endless z": (Anomaly, {"metric": "m", "max_z": math.inf}),
    "a z of NaN": (Anomaly, {"metric": "m", "max_z": math.nan}),
    "a metric without a name": (Anomaly, {"metric": "", "max_z": 3.0}),
    "one sample": (Anomaly, {"metric": "m", "max_z": 3.0, "min_samples": 1}),
    "an anomaly that clips": (Anomaly, {"metric": "m", "max_z": 3.0, "on_breach": CLIP}),
    "hours on the moon": (AllowedHours, {"timezone": "Moon/Sea", "hours": ("daily 00:00-24:00",)}),
    "no hours": (AllowedHours, {"timezone": "UTC", "hours": ()}),
    "hours past midnight": (AllowedHours, {"timezone": "UTC", "hours": ("daily 00:00-25:00",)}),
    "minutes past the hour": (AllowedHours, {"timezone": "UTC", "hours": ("daily 00:60-02:00",)}),
    "hours that end as they begin": (AllowedHours, {"timezone": "UTC", "hours": ("daily 08:00-08:00",)}),
    "an unknown day": (AllowedHours, {"timezone": "UTC", "hours": ("mon-foo 08:00-09:00",)}),
    "daily with a last day": (AllowedHours, {"timezone": "UTC", "hours": ("daily-fri 08:00-09:00",)}),
    "hours that clip": (
        AllowedHours, {"timezone": "UTC", "hours": ("daily 08:00-09:00",), "on_breach": CLIP},
    ),
    "no regions": (Regions, {}),
    "a region in words": (Regions, {"allowed": ("Germany",)}),
    "a category of nothing": (Categories, {"blocked": ("",)}),
    "rewards without room": (RewardClip, {"low": 1.0, "high": 1.0}),
    "rewards up to infinity": (RewardClip, {"low": 0.0, "high": math.inf}),
    "hacking that clips": (RewardHacking, {"on_breach": CLIP}),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_rule_that_makes_no_sense_is_refused(case: str) -> None:
    kind, fields = REFUSED[case]
    with pytest.raises(InvalidInput):
        kind(**fields)


def test_rewards_are_cut_to_their_range() -> None:
    rule = RewardClip(low=-1.0, high=2.0)
    assert [clip_reward(r, [rule]) for r in (-9.0, 0.5, 9.0, math.inf, -math.inf)] == [-1, 0.5, 2, 2, -1]
    assert clip_reward(9.0, []) == 9.0
    for reward in (math.nan, math.inf):
        with pytest.raises(InvalidInput):
            clip_reward(reward, [])
    with pytest.raises(InvalidInput):
        clip_reward(math.nan, [rule])


def test_every_broken_rule_is_named_and_the_strictest_wins() -> None:
    policies = [
        Policy("caps", (BidCap(max_micros=5), ActionCap(max_micros=50)), "EUR", version=3, id=7),
        Policy("places", (Regions(allowed=("DE",)),), version=1, id=8),
        Policy("stops", (Drawdown(max_micros=10),), "EUR", version=1, id=9),
    ]
    action = an_action(bid_micros=9, region="FR")
    facts = profit(0, 100)
    halted = review(action, policies, facts, NOON)
    assert isinstance(halted, Halt)
    assert [(r.policy, r.code) for r in halted.reasons] == [
        ("caps@3", "bid_cap"), ("caps@3", "action_cap"), ("places@1", "regions"), ("stops@1", "drawdown"),
    ]  # fmt: skip
    assert isinstance(review(action, policies[:2], facts, NOON), Deny)
    assert word(review(action, policies[:1], facts, NOON)) == "clip 50/5"
    assert review(action, [], facts, NOON) == Allow(action)


def test_a_watch_says_once_that_a_rule_cuts_too_much() -> None:
    watch = RewardWatch([RewardClip(low=-1, high=1), RewardClip(low=-9, high=9, max_clipped_percent=0)])
    assert [watch.clip(reward) for reward in (0.5, 7.0, -3.0)] == [0.5, 1.0, -1.0]
    assert watch.suspicion() is None, "three rewards say little"
    for _ in range(97):
        watch.clip(2.0)
    assert (watch.suspicion() or "").startswith(
        "99 of 100 rewards lie outside -1 to 1 and were cut; 20 % may"
    )
    assert watch.suspicion() is None
    watch.clip(10.0)
    assert (watch.suspicion() or "").startswith("1 of 101 rewards lie outside -9 to 9")


def test_a_watch_is_silent_while_rules_cut_as_much_as_they_may() -> None:
    watch = RewardWatch([RewardClip(low=0, high=1)])
    for reward in [2.0] * 20 + [0.5] * 80:
        watch.clip(reward)
    assert watch.suspicion() is None
