"""What attempts ask about money, as requests of the ledger: on their own accounts, under their own keys."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection

from gaelp_ray.actors.budget_guard import guard_of
from gaelp_ray.actors.loops import until_answered, until_available, utc_now
from gaelp_ray.domain.access import SYSTEM, Principal
from gaelp_ray.domain.attempts import LaunchOrder
from gaelp_ray.domain.errors import (
    Conflict,
    ExceedsHold,
    Forbidden,
    GaelpError,
    IdempotencyConflict,
    NotFound,
)
from gaelp_ray.domain.ledger import (
    AtExpiry,
    HeldMoney,
    Hold,
    Money,
    NewAccount,
    Outcome,
    Post,
    Request,
    Scope,
    Settle,
    granted,
)
from gaelp_ray.domain.money import whole_micros
from gaelp_ray.domain.platforms import DeliveryReport, Placements
from gaelp_ray.domain.safety.verdicts import Action, Allow, Clip
from gaelp_ray.services import accounts, agents, jobs, ledger, members, platforms, switches
from gaelp_ray.services.reviews import Admission, Reported, admitted
from gaelp_ray.store.engine import Store
from gaelp_ray.training.budget import Lease, booking, check_job_key, refusals
from gaelp_ray.training.orders import Proposal, Ruling, Standing, margin_micros, order_prefix, spelled

log = logging.getLogger(__name__)

#: A spend is held and posted in one transaction, so its hold never gets old.
SPEND_TTL = timedelta(minutes=1)
#: When no report has said the last word on an order by then, it counts as spent until one does.
ORDER_TTL = timedelta(days=7)


class Cashier:
    """Waits while the ledger cannot be asked. All that it asks may be asked twice."""

    def __init__(self, guards: Sequence[Any], store: Store) -> None:
        self._guards = guards
        self._store = store

    async def spend(self, order: LaunchOrder, amount_micros: int, key: str) -> None:
        """Book simulated money; raises the refusal."""
        _require(order, Money.SIMULATED)
        check_job_key(key)
        hold = Hold(
            key=f"job {order.job_id} hold {key}",
            account_ids=order.account_ids,
            currency=order.currency,
            amount_micros=whole_micros(amount_micros),
            ttl=SPEND_TTL,
            # The job goes on once this is held, whatever becomes of the post.
            at_expiry=AtExpiry.SPEND,
            job_id=order.job_id,
            # Another attempt of the job may be bound by other accounts.
            named=f"job {order.job_id}",
        )
        post = Post(key=f"job {order.job_id} post {key}", hold_key=hold.key)
        outcome, _ = await self._submit(order, [hold, post])
        await self._require_held(outcome, hold)

    async def lend(self, order: LaunchOrder, asked: Sequence[Lease | Settle]) -> list[GaelpError | None]:
        """Grant and settle leases of simulated money."""
        _require(order, Money.SIMULATED)
        requests = [
            booking(
                each,
                account_ids=order.account_ids,
                currency=order.currency,
                job_id=order.job_id,
                prefix=f"attempt {order.token} lease ",
            )
            for each in asked
        ]
        await self._require_lent(requests)
        return refusals(await self._submit(order, requests))

    async def _require_lent(self, requests: Sequence[Hold | Settle]) -> None:
        """Raise ``ExceedsHold`` for more than was lent: what others share is charged by what was held."""
        settled = {each.hold_key: each.spent_micros for each in requests if isinstance(each, Settle)}
        if not settled:
            return
        found = await until_available(partial(self._store.read, ledger.holds, settled))
        lent = {key: held.held_micros for key, held in found.items()}
        lent |= {each.key: each.held_micros for each in requests if isinstance(each, Hold)}
        for key, spent in settled.items():
            if spent > lent.get(key, spent):
                raise ExceedsHold(
                    f"{spent} micros are more than the {lent[key]} that were lent.", held_micros=lent[key]
                )

    async def admit(self, order: LaunchOrder, proposal: Proposal, standing: Standing) -> Ruling:
        """Take an order of real money through the gate; raises the refusal."""
        _require(order, Money.REAL)
        proposal = spelled(proposal)
        amount = whole_micros(proposal.amount_micros)
        action = Action(
            agent_id=order.agent_id,
            currency=order.currency,
            amount_micros=amount,
            bid_micros=proposal.bid_micros,
            campaign=proposal.campaign,
            region=proposal.region,
            categories=proposal.categories,
        )
        hold = Hold(
            key=order_prefix(order.job_id) + check_job_key(proposal.key),
            account_ids=await until_available(
                partial(self._store.read, _chain, order, proposal.campaign or None)
            ),
            currency=order.currency,
            amount_micros=amount,
            margin_micros=margin_micros(amount, order.config),
            ttl=ORDER_TTL,
            # Whatever was ordered may have been delivered. No job: an order may outlive it.
            at_expiry=AtExpiry.SPEND,
            named=f"agent {order.agent_id} campaign {proposal.campaign}",
        )
        reported = Reported(standing.profit_micros, standing.peak_profit_micros, standing.series)
        by = await until_available(partial(self._store.read, _doer, order.job_id))
        found = await until_answered(lambda: self._through_gate(action, hold, reported, by))
        if not isinstance(found.outcome, IdempotencyConflict):
            admitted(found)
        verdict = found.verdict
        assert isinstance(verdict, Allow | Clip)
        allowed = verdict.action
        await self._require_held(found.outcome, replace(hold, amount_micros=allowed.amount_micros))
        return Ruling(
            order_key=hold.key,
            currency=allowed.currency,
            amount_micros=allowed.amount_micros,
            bid_micros=allowed.bid_micros,
            reasons=tuple(each.message for each in verdict.reasons) if isinstance(verdict, Clip) else (),
        )

    async def placements(self, order: LaunchOrder, platform: str) -> Placements:
        read = partial(
            self._store.read,
            platforms.placements,
            platform,
            order.agent_id,
            prefix=order_prefix(order.job_id),
        )
        return await until_available(read)

    async def receive(self, order: LaunchOrder, reports: Sequence[DeliveryReport]) -> None:
        """Store what a platform reported of a job's orders, and settle what is final.

        What was corrected of an order before counts as spent of it. What was settled otherwise before is left
        to reconciliation.
        """
        prefix = order_prefix(order.job_id)
        if not all(report.order_key.startswith(prefix) for report in reports):
            raise Forbidden(f"Job {order.job_id} may report on its own orders only.")
        await until_available(partial(self._store.transact, platforms.receive, reports, now=utc_now()))
        final: dict[str, set[str]] = {}
        for report in reports:
            if report.final:
                final.setdefault(report.platform, set()).add(report.order_key)
        for platform, keys in final.items():
            settle = partial(self._store.transact, platforms.settle_final, platform, keys, now=utc_now())
            for outcome in await until_available(settle):
                if isinstance(outcome, GaelpError):
                    log.warning("an order could not be settled", extra={"reason": outcome.message})

    async def halted(self, orders: Mapping[int, LaunchOrder]) -> dict[int, str]:
        """Of these attempts those under a kill switch, and its words."""
        board = await until_available(partial(self._store.read, switches.board))
        found = {attempt_id: board.stopping(order.account_ids) for attempt_id, order in orders.items()}
        return {attempt_id: switch.refusal().message for attempt_id, switch in found.items() if switch}

    async def _through_gate(self, action: Action, hold: Hold, reported: Reported, by: Principal) -> Admission:
        """A refusal of the guard is raised, so that one for want of a database is asked again."""
        guard = guard_of(self._guards, hold.account_ids)
        found: Admission | GaelpError = await guard.admit.remote(action, hold, reported, by)
        if isinstance(found, GaelpError):
            raise found
        return found

    async def _require_held(self, outcome: Outcome | None, hold: Hold) -> None:
        """Raise the refusal of a hold, unless an earlier attempt made it when other accounts were bound."""
        assert outcome is not None
        if isinstance(outcome, IdempotencyConflict):
            held = await until_available(partial(self._store.read, _find_hold, hold.key))
            if held is not None and held.amount_micros == hold.amount_micros:
                return
        granted(outcome)

    async def _submit(self, order: LaunchOrder, requests: Sequence[Request]) -> list[Outcome]:
        guard = guard_of(self._guards, order.account_ids)
        return await until_answered(lambda: guard.submit.remote(list(requests)))


def _chain(connection: Connection, order: LaunchOrder, campaign: str | None) -> tuple[int, ...]:
    """Every account that binds an order now: one that was opened since the attempt began does too."""
    own = NewAccount(Scope.AGENT, str(order.agent_id), order.currency, order.money)
    account = accounts.find_account(connection, own)
    assert account is not None
    chain = accounts.chain(connection, account, campaign=campaign)
    owner = agents.owner(connection, order.agent_id)
    members.require_for_owner(connection, chain, owner=owner)
    return tuple(each.id for each in chain)


def _doer(connection: Connection, job_id: int) -> Principal:
    """Who does what a job orders: its owner."""
    return Principal(jobs.get(connection, job_id, by=SYSTEM).owner)


def _find_hold(connection: Connection, key: str) -> HeldMoney | None:
    try:
        return ledger.hold(connection, key)
    except NotFound:
        return None


def _require(order: LaunchOrder, money: Money) -> None:
    if order.money is money:
        return
    if money is Money.SIMULATED:
        raise Conflict(
            "This job spends real money, which `ctx.budget` has none of; place orders with `ctx.orders`."
        )
    raise Conflict("This job spends simulated money and places no orders; submit it with `money: real`.")
