"""What makes a bound on real money looser, and what other people must have approved before.

Lowering and adding bounds is free, for nothing more can be spent after it. Whatever lets more be spent than
before is one ``Loosening``, by whichever door it comes: a limit that is raised or taken away, the first limit
of an agent that may spend, a budget in another currency, a ramp with a higher end, a policy that is detached
or replaced, a gate to real money that asks for less.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gaelp_ray.domain.approvals import Need, Purpose
from gaelp_ray.domain.ledger import Account, Limit, Money, NewAccount, Scope
from gaelp_ray.domain.promotion import DEFAULT, RequiredEvidence
from gaelp_ray.domain.safety.policies import Policy, required_evidence
from gaelp_ray.domain.windows import Period


@dataclass(frozen=True, slots=True, kw_only=True)
class Loosening:
    """A change that lets more real money be spent."""

    need: Need
    #: What an approval is noted to have been used for.
    done: str
    #: Why only an admin does this, whatever was approved; None where an approval is enough.
    admins_only: str | None = None


def of_limit(
    account: Account,
    limits: Collection[Limit],
    period: Period,
    limit_micros: int | None,
    *,
    may_spend: bool,
    since: datetime | None,
) -> Loosening | None:
    """A limit that is raised or taken away; the first one of an agent that may spend.

    An agent's budget without any limit holds nothing, so its first limit lets something be spent. It is free
    until a version of the agent is promoted: who approves that sees it. ``since``: when the limit was last
    set; what was approved before was approved of another one.
    """
    if account.money is not Money.REAL:
        return None
    set_now = {limit.period: limit.limit_micros for limit in limits if limit.limit_micros is not None}
    before = set_now.get(period)
    first = account.scope is Scope.AGENT and not set_now and may_spend
    if before is None and not first:
        return None
    if limit_micros is not None and limit_micros <= (before or 0):
        return None
    gone = "A limit of real money is taken away by an admin; ask for approval of a higher one."
    need = Need(
        purpose=Purpose.LIMIT,
        subject=f"account {account.id}",
        amount_micros=limit_micros,
        currency=account.currency,
        period=period,
        since=since,
    )
    return Loosening(
        need=need,
        done=f"{period} limit of {limit_micros} micros",
        admins_only=gone if limit_micros is None else None,
    )


def of_opening(
    new: NewAccount, others: Iterable[Account], limits: Mapping[Period, int | None]
) -> Loosening | None:
    """Another budget of real money for an agent: limits of those in other currencies do not bind it."""
    if new.scope is not Scope.AGENT or new.money is not Money.REAL:
        return None
    if all(other.money is not Money.REAL or other.currency == new.currency for other in others):
        return None
    most = max((limit for limit in limits.values() if limit), default=1)
    need = Need(
        purpose=Purpose.LIMIT, subject=f"agent {new.subject}", amount_micros=most, currency=new.currency
    )
    return Loosening(need=need, done=f"a budget in {new.currency}")


def of_policy(name: str, change: str) -> Loosening:
    """A policy that binds real money is detached, or replaced: another version may ask for less."""
    need = Need(purpose=Purpose.POLICY, subject=f"policy {name}", change=change)
    return Loosening(need=need, done=change)


def asks_for_less(policy: Policy, in_force: Iterable[Policy]) -> bool:
    """Whether a policy that is attached first takes the place of the default gate, and is weaker.

    ``in_force``: the others that bind what it is attached to. Where one of them asks for evidence, the policy
    only adds to that.
    """
    asked = required_evidence([policy])
    return bool(asked) and not required_evidence(in_force) and not _as_strict(asked, DEFAULT)


def _as_strict(asked: Sequence[RequiredEvidence], default: RequiredEvidence) -> bool:
    """Whether all of these together show at least what the default asks for."""
    return (
        max(each.min_seeds for each in asked) >= default.min_seeds
        and max(each.min_effect for each in asked) >= default.min_effect
        and max(each.min_confidence for each in asked) >= default.min_confidence
        and min(each.max_age_days for each in asked) <= default.max_age_days
        and max(each.approvals for each in asked) >= default.approvals
    )
