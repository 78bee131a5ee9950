"""The judgement of an action: pure, the same for the same facts, the strictest rule wins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import get_args

from gaelp_ray.domain.money import MAX_MICROS
from gaelp_ray.domain.safety.fences import AllowedHours
from gaelp_ray.domain.safety.policies import ActionRule, MoneyRule, Policy, Rule
from gaelp_ray.domain.safety.verdicts import (
    RANK,
    Action,
    Allow,
    Clip,
    Deny,
    Finding,
    Halt,
    Measured,
    Reason,
    Severity,
    Verdict,
    is_whole,
)

_MONEY_RULES, _ACTION_RULES = get_args(MoneyRule), get_args(ActionRule)


def review(action: Action, policies: Iterable[Policy], measured: Measured, now: datetime) -> Verdict:
    """What may come of an action.

    Every policy is asked, and every rule that is broken is named. What is clipped keeps every rule: reviewed
    again it is allowed. One more policy never makes the outcome looser.
    """
    if malformed := _malformed(action) or _uncountable(action, measured):
        return Deny((malformed,))
    found = [each for policy in policies for each in _findings(policy, action, measured, now)]
    if not found:
        return Allow(action)
    reasons = tuple(
        Reason(finding.code, finding.message, finding.severity, policy.label, policy.id)
        for policy, finding in found
    )
    worst = max((reason.severity for reason in reasons), key=RANK.__getitem__)
    if worst is Severity.HALT:
        return Halt(reasons)
    if worst is Severity.DENY:
        return Deny(reasons)
    return Clip(_clipped(action, [finding for _, finding in found]), reasons)


def _findings(
    policy: Policy, action: Action, measured: Measured, now: datetime
) -> Iterator[tuple[Policy, Finding]]:
    counts_money = any(isinstance(rule, _MONEY_RULES) for rule in policy.rules)
    if counts_money and action.currency != policy.currency:
        message = f"The policy counts in {policy.currency}, the action is in {action.currency}."
        yield policy, Finding("currency", message, Severity.DENY)
        return
    for rule in policy.rules:
        finding = _judge(rule, action, measured, now)
        if finding is not None:
            yield policy, finding


def _judge(rule: Rule, action: Action, measured: Measured, now: datetime) -> Finding | None:
    if isinstance(rule, AllowedHours):
        return rule.judge_at(now)
    return rule.judge(action, measured) if isinstance(rule, _ACTION_RULES) else None


def _clipped(action: Action, findings: list[Finding]) -> Action:
    bids = [f.max_bid_micros for f in findings if f.max_bid_micros is not None]
    amounts = [f.max_amount_micros for f in findings if f.max_amount_micros is not None]
    bid = action.bid_micros
    return replace(
        action,
        bid_micros=None if bid is None else min([bid, *bids]),
        amount_micros=min([action.amount_micros, *amounts]),
    )


def _malformed(action: Action) -> Reason | None:
    """The caps compare numbers, and every comparison with a NaN is false; so numbers they must be."""
    if not _is_amount(action.amount_micros):
        return _not("amount_micros", "a whole number of micros above 0")
    if action.bid_micros is not None and not _is_amount(action.bid_micros):
        return _not("bid_micros", "a whole number of micros above 0")
    if type(action.categories) is not tuple:
        return _not("categories", "a tuple of texts")
    named: tuple[object, ...] = (action.currency, action.region or "", *action.categories)
    if not all(isinstance(name, str) for name in named):
        return _not("currency, region and categories", "texts")
    return None


def _uncountable(action: Action, measured: Measured) -> Reason | None:
    margin = measured.margin_micros
    if is_whole(margin) and margin >= 0 and action.amount_micros + margin <= MAX_MICROS:
        return None
    return _not("margin_micros", "a whole number of micros of at least 0, countable with the amount")


def _is_amount(value: int) -> bool:
    return is_whole(value) and 0 < value <= MAX_MICROS


def _not(field: str, what: str) -> Reason:
    return Reason("malformed", f"`{field}` must be {what}.", Severity.DENY)
