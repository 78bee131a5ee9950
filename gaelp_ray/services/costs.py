"""Use cases of compute costs: running time is held for before it runs, and booked when it ran."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from gaelp_ray.domain.attempts import Attempt
from gaelp_ray.domain.costs import SHARES, Run, Terms
from gaelp_ray.domain.duties import Troubles
from gaelp_ray.domain.errors import BudgetExceeded, GaelpError
from gaelp_ray.domain.ledger import Account, Money, Outcome, Scope, Settle, Void
from gaelp_ray.domain.scheduling.funds import Fund, Funds, Payer
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import accounts, ledger
from gaelp_ray.store import accounts as account_store
from gaelp_ray.store import attempts as attempt_store
from gaelp_ray.store import ledger as ledger_store
from gaelp_ray.store import quotas as quota_store
from gaelp_ray.store.attempts import Paid

#: Whose budgets pay for compute.
_PAYERS = (Scope.USER, Scope.TEAM, Scope.GLOBAL)


@dataclass(frozen=True)
class FirstSlice:
    """Running time that an admission needs money for."""

    run: Run
    owner: str
    team: str | None
    share: int = 1


def hold(tx: Connection, slices: Sequence[FirstSlice], *, terms: Terms, now: datetime) -> dict[UUID, Outcome]:
    """Hold money for the first slice of each, and return what the ledger answered; what is free is left out.

    The holds are all or nothing with whatever else the transaction does.
    """
    costly = [each for each in slices if each.run.hour_micros > 0]
    chains = _chains(tx, {(each.owner, each.team) for each in costly}, terms, now)
    holds = [
        each.run.next_hold(chains[each.owner], terms.prices.currency, terms, each.share) for each in costly
    ]
    outcomes = ledger.apply(tx, holds, now=now)
    return {each.run.token: outcome for each, outcome in zip(costly, outcomes, strict=True)}


def release(tx: Connection, runs: Iterable[Run], *, now: datetime) -> None:
    """Give back the first slices of runs that were not admitted after all."""
    voids = [Void(key=run.end_key, hold_key=run.next_key) for run in runs]
    ledger.apply(tx, voids, now=now)


def renew(
    tx: Connection, attempt_ids: Sequence[int], *, terms: Terms, now: datetime
) -> dict[int, datetime | GaelpError]:
    """Book what ran of live attempts and hold money for their next slices; until when each is paid for.

    A refusal changes nothing for its attempt: what is held goes on being held, and is enough to stop in. When
    there is no money for a whole slice, a shorter one is taken.
    """
    paid = attempt_store.lock_paid(tx, attempt_ids)
    owners = {each.owner for each in paid}
    quotas = quota_store.book_of(tx, *owners)
    chains = _chains(tx, {(owner, quotas.team_of(owner)) for owner in owners}, terms, now)
    return {each.attempt_id: _renew(tx, each, chains[each.owner], terms, now) for each in paid}


def settle(tx: Connection, attempt: Attempt, token: UUID, *, now: datetime) -> None:
    """Book what an attempt ran that has ended, and give back the rest of its slice."""
    if attempt.slices == 0:
        return
    booked, slices = attempt.cost_micros, attempt.slices
    run = Run(token, attempt.job_id, attempt.hour_micros, attempt.claimed_at, slices, booked)
    due = run.due_micros(attempt.ended_at or now)
    ledger.apply(tx, [Settle(key=run.end_key, hold_key=run.hold_key, spent_micros=due)], now=now)
    attempt_store.book_cost(tx, attempt.id, due, slices=attempt.slices)


def paid_until(connection: Connection, tokens: Iterable[UUID]) -> dict[UUID, datetime]:
    """When the first slices of attempts end."""
    keys = {Run(token, 0, 0, slices=1).hold_key: token for token in tokens}
    return {keys[key]: held.expires_at for key, held in ledger_store.get_holds(connection, keys).items()}


def funds(
    connection: Connection,
    terms: Terms | None,
    *,
    now: datetime,
    of: tuple[str, str | None] | None = None,
    troubles: Troubles[str] | None = None,
) -> Funds:
    """What is left of every budget that limits compute, each in the window that has the least.

    ``of``: only those that limit one user and his team. Of a budget that cannot be read nothing is left;
    ``troubles`` hears of it.
    """
    if terms is None:
        return Funds()
    found: dict[Payer, Fund] = {}
    unread: dict[Account, Exception] = {}
    windows = accounts.limited(
        connection,
        scopes=_PAYERS,
        currency=terms.prices.currency,
        money=Money.REAL,
        now=now,
        subjects=None if of is None else {of[0], of[1] or "", ""},
        unread=unread,
    )
    for account, error in unread.items():
        found[account.scope, account.subject] = Fund(0, 0, Period.TOTAL)
        if troubles is not None:
            troubles.add(f"budget {account.id}", error)
    for account, usage in windows:
        left, limit = usage.remaining_micros, usage.limit_micros
        payer = account.scope, account.subject
        if left is not None and limit is not None and (payer not in found or left < found[payer].left_micros):
            found[payer] = Fund(left, limit, usage.period)
    return Funds(terms, found)


def _renew(
    tx: Connection, paid: Paid, account_ids: tuple[int, ...], terms: Terms, now: datetime
) -> datetime | GaelpError:
    run = paid.run
    due = run.due_micros(now)
    refused: GaelpError | None = None
    for share in SHARES:
        then = run.next_hold(account_ids, terms.prices.currency, terms, share)
        booked = Settle(key=f"{then.key} settle", hold_key=run.hold_key, spent_micros=due)
        # Undone as a whole when it is refused, so that the keys may be used again for a shorter slice.
        with tx.begin_nested() as step:
            outcomes = ledger.apply(tx, [booked, then], now=now)
            refused = next((each for each in outcomes if isinstance(each, GaelpError)), None)
            if refused is not None:
                step.rollback()
        if refused is None:
            attempt_store.book_cost(tx, paid.attempt_id, due, slices=run.slices + 1)
            return now + then.ttl
        if not isinstance(refused, BudgetExceeded):
            break
    assert refused is not None
    return refused


def _chains(
    tx: Connection, payers: Iterable[tuple[str, str | None]], terms: Terms, now: datetime
) -> dict[str, tuple[int, ...]]:
    """The accounts that pay for each owner's compute: his own, his team's, the global one."""
    teams = dict(payers)
    if not teams:
        return {}
    subjects = {(Scope.USER, owner) for owner in teams} | {(Scope.GLOBAL, "")}
    subjects |= {(Scope.TEAM, team) for team in teams.values() if team is not None}
    currency = terms.prices.currency
    found = account_store.find_many(tx, subjects, currency=currency, money=Money.REAL)
    ids = {(account.scope, account.subject): account.id for account in found}
    chains = {}
    for owner, team in teams.items():
        own = ids.get((Scope.USER, owner)) or accounts.of_user(tx, owner, currency, now=now).id
        shared = [ids.get((Scope.TEAM, team)) if team is not None else None, ids.get((Scope.GLOBAL, ""))]
        chains[owner] = (own, *(each for each in shared if each is not None))
    return chains
