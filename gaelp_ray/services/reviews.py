"""The gate for real money: an action is reviewed and its money held in one transaction, or neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from gaelp_ray.domain import names, periods
from gaelp_ray.domain.access import SYSTEM, Principal
from gaelp_ray.domain.approvals import Approval, Need, Purpose
from gaelp_ray.domain.errors import (
    Denied,
    GaelpError,
    Halted,
    IdempotencyConflict,
    InvalidInput,
    NoLimit,
    NotEligible,
)
from gaelp_ray.domain.ledger import Account, Answer, Hold, Money, Outcome, Receipt, Scope, digest, granted
from gaelp_ray.domain.roles import Role
from gaelp_ray.domain.safety.caps import ApprovalAbove, SpendCap
from gaelp_ray.domain.safety.fences import spelled
from gaelp_ray.domain.safety.policies import Policy
from gaelp_ray.domain.safety.review import review
from gaelp_ray.domain.safety.verdicts import (
    Action,
    Allow,
    Clip,
    Deny,
    Halt,
    Measured,
    Severity,
    Verdict,
    is_whole,
)
from gaelp_ray.domain.switches import Switch, SwitchScope, Target
from gaelp_ray.domain.windows import window
from gaelp_ray.services import agents, approvals, audit, ledger, policies, roles
from gaelp_ray.store import accounts as account_store
from gaelp_ray.store import reviews as review_store
from gaelp_ray.store import statements
from gaelp_ray.store import switches as switch_store
from gaelp_ray.store.positions import Position
from gaelp_ray.store.reviews import Violation

_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Reported:
    """What an agent's host knows of it and the ledger does not."""

    profit_micros: int | None = None
    peak_profit_micros: int | None = None
    series: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Admission:
    verdict: Verdict
    #: What the ledger answered to the hold; None where it was not asked.
    outcome: Outcome | None = None

    @property
    def action(self) -> Action | None:
        """What may be done now; None: nothing."""
        if isinstance(self.verdict, Allow | Clip) and isinstance(self.outcome, Receipt):
            return self.verdict.action
        return None


def admitted(admission: Admission) -> Receipt:
    """The receipt; raises ``Denied`` or ``Halted`` with the reasons, or the refusal of the ledger."""
    if isinstance(admission.verdict, Deny | Halt):
        raise _refusal(admission.verdict)
    assert admission.outcome is not None
    return granted(admission.outcome)


def admit(
    tx: Connection,
    action: Action,
    hold: Hold,
    *,
    reported: Reported,
    by: Principal = SYSTEM,
    now: datetime,
) -> Admission:
    """Review an action under every policy of its agent, and hold the money for what is allowed of it.

    ``hold`` must name the account of the agent; its amount is replaced by that of the action, clipped or not.
    The same key with the same action and hold gets the first verdict and receipt again, a denial too. Rules
    that are broken are recorded, and a halt engages the agent's kill switch. An approval is used up only with
    a hold that is granted, and the vote of ``by``, who does it, is none of its votes. Raises ``Halted`` while
    a switch is engaged, ``NoLimit`` where nothing limits the account, and ``IdempotencyConflict`` for a key
    that stands for something else.
    """
    switch_store.lock_shared(tx)
    account = _account_of_agent(tx, action, hold)
    answer = ledger.answer(tx, hold.key)
    known = review_store.find(tx, hold.key)
    if known is not None:
        return _again(tx, known, answer, action, hold, now)
    if answer is not None:
        raise answer.conflict(hold.key)
    halted = switch_store.board(tx, account_ids=hold.account_ids).refusal(hold)
    if halted := halted or _campaign_refusal(tx, action.campaign):
        raise halted
    _require_limit(tx, account)
    judgement = _judge(tx, action, hold, account, reported, by, now)
    if isinstance(judgement.verdict, Deny | Halt):
        ledger.refuse(tx, hold, _refusal(judgement.verdict), now=now)
    admission = _hold(tx, judgement.verdict, action, hold, now)
    if judgement.approval is not None and isinstance(admission.outcome, Receipt):
        approvals.use(tx, judgement.approval, used_for=hold.key, by=by, now=now)
    return admission


@dataclass(frozen=True, slots=True)
class _Judgement:
    verdict: Verdict
    #: What is used up if the money is held, its row held until then.
    approval: Approval | None


def _hold(tx: Connection, verdict: Verdict, action: Action, hold: Hold, now: datetime) -> Admission:
    if not isinstance(verdict, Allow | Clip):
        return Admission(verdict)
    asked = replace(hold, amount_micros=verdict.action.amount_micros, currency=action.currency)
    return Admission(verdict, ledger.apply(tx, [asked], now=now)[0])


def _require_limit(tx: Connection, account: Account) -> None:
    """An agent spends real money only where somebody has said how much."""
    limits = account_store.limits(tx, [account.id]).get(account.id, [])
    if all(limit.limit_micros is None for limit in limits):
        raise NoLimit(
            f"Budget {account.id} of agent {account.subject} in {account.currency} has no limit, so it holds "
            "no real money; set one of its limits first.",
            account_id=account.id,
        )


def violations(
    connection: Connection,
    *,
    by: Principal,
    agent_id: int | None = None,
    severity: Severity | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    after: Position | None = None,
    limit: int,
) -> list[Violation]:
    """Broken rules in the order in which they were recorded: of one agent, or for an auditor of all.

    Who goes on from the place of the last misses none.
    """
    if since is not None and until is not None:
        periods.check(since, until)
    if agent_id is None:
        roles.require(connection, Role.AUDITOR, by=by)
    else:
        agents.known(connection, agent_id, by=by)
    return review_store.violations_feed(
        connection, agent_id=agent_id, severity=severity, since=since, until=until, after=after, limit=limit
    )


def violation_counts(
    connection: Connection, *, since: datetime, by: Principal = SYSTEM
) -> dict[tuple[str, str], int]:
    """How many of each severity and code, for alerts. Needs the role of an auditor."""
    roles.require(connection, Role.AUDITOR, by=by)
    return review_store.count_violations(connection, since=since)


def _account_of_agent(tx: Connection, action: Action, hold: Hold) -> Account:
    """The agent's own account. All accounts of the hold are locked, so what is measured stays true."""
    locked = account_store.lock(tx, hold.account_ids)
    for account in locked.values():
        own = (account.scope, account.subject) == (Scope.AGENT, str(action.agent_id))
        if own and account.money is Money.REAL:
            return account
    raise InvalidInput(f"`account_ids` must name an account of real money of agent {action.agent_id}.")


def _again(
    tx: Connection,
    known: tuple[Action, Verdict],
    answer: Answer | None,
    action: Action,
    hold: Hold,
    now: datetime,
) -> Admission:
    asked, verdict = known
    if spelled(asked) != spelled(action):
        raise IdempotencyConflict(
            f"Key {hold.key!r} was used before for another action; use a new key.", key=hold.key
        )
    if isinstance(verdict, Deny | Halt):
        if answer is None:  # It was denied before denials were kept under their keys.
            ledger.refuse(tx, hold, _refusal(verdict), now=now)
        elif answer.digest != digest(hold):
            raise answer.conflict(hold.key)
    return _hold(tx, verdict, action, hold, now)


def _refusal(verdict: Deny | Halt) -> GaelpError:
    reasons = [
        {"code": each.code, "message": each.message, "policy": each.policy} for each in verdict.reasons
    ]
    refused = Denied if isinstance(verdict, Deny) else Halted
    return refused(" ".join(each.message for each in verdict.reasons), reasons=reasons)


def _judge(
    tx: Connection,
    action: Action,
    hold: Hold,
    account: Account,
    reported: Reported,
    by: Principal,
    now: datetime,
) -> _Judgement:
    ruling = policies.of_agent(tx, action.agent_id)
    measured = _measure(tx, action, hold, ruling, account, reported, now)
    approval = _approval(tx, action, measured, ruling, by, now)
    if approval is not None:
        measured = replace(measured, approved_micros=measured.whole_micros(action))
    verdict = review(action, ruling, measured, now)
    review_store.add(tx, hold.key, action, measured, verdict, now=now)
    if isinstance(verdict, Halt):
        _halt(tx, action.agent_id, verdict, now)
    # What was cut below the amount that needs one does without.
    cut = isinstance(verdict, Clip) and _people(measured.whole_micros(verdict.action), ruling) is None
    return _Judgement(verdict, None if cut else approval)


def _campaign_refusal(tx: Connection, campaign: str) -> Halted | None:
    """A campaign is stopped by its name, whether or not it has a budget."""
    name = names.canonical(campaign)
    switch = switch_store.get(tx, Target(SwitchScope.CAMPAIGN, name)) if name else None
    return switch.refusal() if switch is not None and switch.engaged else None


def _measure(
    tx: Connection,
    action: Action,
    hold: Hold,
    ruling: Sequence[Policy],
    account: Account,
    reported: Reported,
    now: datetime,
) -> Measured:
    """What the ledger knows and what was reported."""
    periods = {rule.period for policy in ruling for rule in policy.rules if isinstance(rule, SpendCap)}
    spans = {period: window(period, account.timezone, now) for period in periods}
    return Measured(
        spent_micros={
            period: _used(tx, account, span.starts_at, span.ends_at) for period, span in spans.items()
        },
        last_hour_micros=_used(tx, account, now - _HOUR, now + _HOUR),
        hour_before_micros=_used(tx, account, now - 2 * _HOUR, now - _HOUR),
        profit_micros=reported.profit_micros,
        peak_profit_micros=reported.peak_profit_micros,
        series=reported.series,
        margin_micros=hold.margin_micros,
    )


def _used(tx: Connection, account: Account, since: datetime, until: datetime) -> int:
    return statements.used_between(tx, account.id, since=since, until=until)


def _approval(
    tx: Connection,
    action: Action,
    measured: Measured,
    ruling: Sequence[Policy],
    by: Principal,
    now: datetime,
) -> Approval | None:
    """The approval that lets an action cost so much; None where nobody has to approve, or nobody did."""
    if not is_whole(action.amount_micros):
        return None
    whole = measured.whole_micros(action)
    people = _people(whole, ruling)
    if people is None:
        return None
    need = Need(
        purpose=Purpose.SPEND,
        subject=f"agent {action.agent_id}",
        people=people,
        amount_micros=whole,
        currency=action.currency,
    )
    try:
        return approvals.find(tx, need, by=by, now=now)
    except NotEligible:
        return None


def _people(whole_micros: int, ruling: Sequence[Policy]) -> int | None:
    """How many must approve; None where nobody has to."""
    rules = [rule for policy in ruling for rule in policy.rules if isinstance(rule, ApprovalAbove)]
    return max((rule.people for rule in rules if whole_micros > rule.amount_micros), default=None)


def _halt(tx: Connection, agent_id: int, verdict: Halt, now: datetime) -> None:
    """Engage the agent's switch. Its account's row is held, so no hold of it is being made meanwhile."""
    reason = "; ".join(reason.message for reason in verdict.reasons)[:500]
    target = Target(SwitchScope.AGENT, str(agent_id))
    switch_store.put(tx, Switch(target, True, reason, SYSTEM.user, now))
    after = {"engaged": True, "reason": reason}
    audit.record(tx, "switch.engage", str(target), by=SYSTEM, now=now, before={"engaged": False}, after=after)
