"""The gate for real money: an action is reviewed and its money held in one transaction, or neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from gaelp_ray.domain.access import SYSTEM, Principal
from gaelp_ray.domain.approvals import Purpose, covers
from gaelp_ray.domain.errors import Denied, Halted, IdempotencyConflict, InvalidInput
from gaelp_ray.domain.ledger import Account, Hold, Money, Outcome, Receipt, Scope, granted
from gaelp_ray.domain.roles import Role
from gaelp_ray.domain.safety.caps import ApprovalAbove, SpendCap
from gaelp_ray.domain.safety.policies import Policy
from gaelp_ray.domain.safety.review import review
from gaelp_ray.domain.safety.verdicts import Action, Allow, Clip, Deny, Halt, Measured, Severity, Verdict
from gaelp_ray.domain.switches import Switch, SwitchScope, Target
from gaelp_ray.domain.windows import window
from gaelp_ray.services import agents, approvals, audit, ledger, policies, roles
from gaelp_ray.store import accounts as account_store
from gaelp_ray.store import approvals as approval_store
from gaelp_ray.store import reviews as review_store
from gaelp_ray.store import statements
from gaelp_ray.store import switches as switch_store
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
    verdict = admission.verdict
    if isinstance(verdict, Deny | Halt):
        reasons = [
            {"code": each.code, "message": each.message, "policy": each.policy} for each in verdict.reasons
        ]
        refused = Denied if isinstance(verdict, Deny) else Halted
        raise refused(" ".join(each.message for each in verdict.reasons), reasons=reasons)
    assert admission.outcome is not None
    return granted(admission.outcome)


def admit(
    tx: Connection,
    action: Action,
    hold: Hold,
    *,
    reported: Reported,
    now: datetime,
) -> Admission:
    """Review an action under every policy of its agent, and hold the money for what is allowed of it.

    ``hold`` must name the account of the agent; its amount is replaced by that of the action, clipped or not.
    The same key with the same action gets the first verdict and receipt again. Rules that are broken are
    recorded, and a halt engages the agent's kill switch. Raises ``Halted`` while one is engaged.
    """
    switch_store.lock_shared(tx)
    account = _account_of_agent(tx, action, hold)
    known = review_store.find(tx, hold.key)
    verdict = _again(known, action, hold.key) if known else _judge(tx, action, hold, account, reported, now)
    if not isinstance(verdict, Allow | Clip):
        return Admission(verdict)
    asked = replace(hold, amount_micros=verdict.action.amount_micros, currency=action.currency)
    return Admission(verdict, ledger.apply(tx, [asked], now=now)[0])


def violations(
    connection: Connection,
    *,
    by: Principal,
    agent_id: int | None = None,
    severity: Severity | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    after: int = 0,
    limit: int,
) -> list[Violation]:
    """Broken rules in the order in which they were recorded: of one agent, or for an auditor of all."""
    if agent_id is None:
        roles.require(connection, Role.AUDITOR, by=by)
    else:
        agents.known(connection, agent_id, by=by)
    return review_store.violations_page(
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


def _again(known: tuple[Action, Verdict], action: Action, key: str) -> Verdict:
    asked, verdict = known
    if asked != action:
        raise IdempotencyConflict(f"Key {key!r} was used before for another action; use a new key.", key=key)
    return verdict


def _judge(
    tx: Connection, action: Action, hold: Hold, account: Account, reported: Reported, now: datetime
) -> Verdict:
    halted = switch_store.board(tx, account_ids=hold.account_ids).refusal(hold)
    halted = halted or _campaign_refusal(tx, action.campaign)
    if halted is not None:
        raise halted
    ruling = policies.of_agent(tx, action.agent_id)
    measured = _measure(tx, action, hold, ruling, account, reported, now)
    verdict = review(action, ruling, measured, now)
    review_store.add(tx, hold.key, action, measured, verdict, now=now)
    if isinstance(verdict, Allow | Clip):
        _use_approval(tx, verdict.action, ruling, hold.key, now)
    if isinstance(verdict, Halt):
        _halt(tx, action.agent_id, verdict, now)
    return verdict


def _campaign_refusal(tx: Connection, campaign: str) -> Halted | None:
    """A campaign is stopped by its name, whether or not it has a budget."""
    switch = switch_store.get(tx, Target(SwitchScope.CAMPAIGN, campaign)) if campaign else None
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
    """What the ledger knows and what was reported. The margin of the hold counts as spent: it may be."""
    periods = {rule.period for policy in ruling for rule in policy.rules if isinstance(rule, SpendCap)}
    spans = {period: window(period, account.timezone, now) for period in periods}
    spent = {period: _used(tx, account, span.starts_at, span.ends_at) for period, span in spans.items()}
    return Measured(
        spent_micros={period: micros + hold.margin_micros for period, micros in spent.items()},
        last_hour_micros=_used(tx, account, now - _HOUR, now + _HOUR) + hold.margin_micros,
        hour_before_micros=_used(tx, account, now - 2 * _HOUR, now - _HOUR),
        profit_micros=reported.profit_micros,
        peak_profit_micros=reported.peak_profit_micros,
        series=reported.series,
        approved_micros=_approved(tx, action, ruling, now),
    )


def _used(tx: Connection, account: Account, since: datetime, until: datetime) -> int:
    return statements.used_between(tx, account.id, since=since, until=until)


def _approved(tx: Connection, action: Action, ruling: Sequence[Policy], now: datetime) -> int:
    people = _people(action, ruling)
    if people is None:
        return 0
    valid = approval_store.lock_valid(tx, Purpose.SPEND, f"agent {action.agent_id}", now=now)
    return max(
        (
            action.amount_micros
            for approval in valid
            if approval.needed >= people and covers(approval, action.amount_micros, action.currency)
        ),
        default=0,
    )


def _people(action: Action, ruling: Sequence[Policy]) -> int | None:
    """How many must approve; None where nobody has to."""
    rules = [rule for policy in ruling for rule in policy.rules if isinstance(rule, ApprovalAbove)]
    return max((rule.people for rule in rules if action.amount_micros > rule.amount_micros), default=None)


def _use_approval(tx: Connection, action: Action, ruling: Sequence[Policy], key: str, now: datetime) -> None:
    people = _people(action, ruling)
    if people is not None:
        approvals.use(
            tx,
            Purpose.SPEND,
            f"agent {action.agent_id}",
            used_for=key,
            by=SYSTEM,
            now=now,
            needed=people,
            amount_micros=action.amount_micros,
            currency=action.currency,
        )


def _halt(tx: Connection, agent_id: int, verdict: Halt, now: datetime) -> None:
    """Engage the agent's switch. Its account's row is held, so no hold of it is being made meanwhile."""
    reason = "; ".join(reason.message for reason in verdict.reasons)[:500]
    target = Target(SwitchScope.AGENT, str(agent_id))
    switch_store.put(tx, Switch(target, True, reason, SYSTEM.user, now))
    after = {"engaged": True, "reason": reason}
    audit.record(tx, "switch.engage", str(target), by=SYSTEM, now=now, before={"engaged": False}, after=after)
