"""Use cases of accounts: they are opened, limited, and looked at."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import Connection

from gaelp_ray.domain import ids, names
from gaelp_ray.domain import loosening as rules
from gaelp_ray.domain.access import SYSTEM, Principal
from gaelp_ray.domain.agents import Agent, AgentType
from gaelp_ray.domain.budgets import Usage, told
from gaelp_ray.domain.errors import Conflict, Forbidden, InvalidInput, NotFound
from gaelp_ray.domain.ledger import Account, Limit, Money, NewAccount, Scope, check_opening
from gaelp_ray.domain.loosening import Loosening
from gaelp_ray.domain.money import MAX_MICROS
from gaelp_ray.domain.windows import Period, window
from gaelp_ray.services import audit, loosening
from gaelp_ray.store import accounts as account_store
from gaelp_ray.store import agents as agent_store
from gaelp_ray.store import ledger as ledger_store
from gaelp_ray.store import promotions as promotion_store
from gaelp_ray.store import quotas as quota_store
from gaelp_ray.store import ramps as ramp_store


def open_account(tx: Connection, new: NewAccount, *, now: datetime, by: Principal = SYSTEM) -> Account:
    """Open an account, or return the one that was opened so before.

    Raises ``Conflict`` if it was opened with another time zone or end, ``Forbidden`` for real money of a
    simulation agent, ``NotFound`` for an agent that does not exist.
    """
    check_opening(new, _agent_type(tx, new.subject) if new.scope is Scope.AGENT else None)
    account = account_store.find(tx, new)
    added = False
    if account is None:
        audit.number(tx)
        added = account_store.add(tx, new, now=now)
        account = account_store.find(tx, new)
    assert account is not None
    if added:
        audit.record(tx, "account.open", f"account {account.id}", by=by, now=now, after=asdict(new))
    if (account.timezone, account.closes_at) != (new.timezone, new.closes_at):
        raise Conflict(
            f"Account {account.id} exists already, in {account.timezone} and closing at "
            f"{account.closes_at}; its time zone and end cannot change."
        )
    return account


def set_limit(
    tx: Connection,
    account_id: int,
    period: Period,
    limit_micros: int | None,
    *,
    now: datetime,
    by: Principal = SYSTEM,
) -> Usage:
    """Limit what an account may use in each window of a period; None counts without limiting.

    A limit may be lowered below what is used: nothing is taken back, the usage says that it is over, and new
    holds are refused.
    """
    _check_limit(limit_micros)
    account = account_store.lock(tx, [account_id]).get(account_id)
    if account is None:
        raise NotFound(f"There is no account {account_id}.")
    limit = Limit(account_id, period, limit_micros)
    before = account_store.limits(tx, [account_id])[account_id]
    account_store.set_limit(tx, limit, now=now)
    empty = _empty(account, limit, now)
    found = ledger_store.windows(tx, [empty]).values()
    usage, alerts = told(next(usage for usage in found if now in usage.window), now)
    ledger_store.write_usages(tx, [usage], alerts)
    _audit(tx, before, limit, by, now)
    return usage


def change_limit(
    tx: Connection, account_id: int, period: Period, limit_micros: int | None, *, by: Principal, now: datetime
) -> Usage:
    """As ``set_limit``, for somebody who may limit the account.

    What loosens a limit of real money passes ``loosening.permit``. A daily limit that is set while a ramp
    moves it is the most that the ramp may reach from then on.
    """
    _check_limit(limit_micros)
    if period is Period.DAY:
        # Ramps are locked before the accounts whose limits they move.
        ramp_store.lock_live_of(tx, account_id)
    # Held from here on, so that the limit stays what the approval is compared with.
    locked = account_store.lock(tx, [account_id]).get(account_id)
    if locked is not None:
        loosening.permit(tx, loosened(tx, locked, period, limit_micros), by=by, now=now)
    usage = set_limit(tx, account_id, period, limit_micros, now=now, by=by)
    if period is Period.DAY:
        ramp_store.cap(tx, account_id, limit_micros)
    return usage


def loosened(
    connection: Connection, account: Account, period: Period, limit_micros: int | None
) -> Loosening | None:
    """What a limit would loosen if it were set now; None: nothing."""
    return rules.of_limit(
        account,
        account_store.limits(connection, [account.id]).get(account.id, ()),
        period,
        limit_micros,
        may_spend=account.scope is Scope.AGENT and _may_spend(connection, account.subject),
        since=account_store.limited_at(connection, account.id, period),
    )


def account(connection: Connection, account_id: int) -> Account:
    found = account_store.get(connection, account_id)
    if found is None:
        raise NotFound(f"There is no account {account_id}.")
    return found


def find_account(connection: Connection, new: NewAccount) -> Account | None:
    """The account of a subject and kind of money, if it was opened."""
    return account_store.find(connection, new)


def of_agent(tx: Connection, agent: Agent, money: Money, currency: str, *, now: datetime) -> Account:
    """The account that an agent spends this kind of money from, opened if it has none.

    Raises ``Forbidden`` where an agent of its type never spends real money.
    """
    if money is Money.REAL and agent.type is not AgentType.REAL_DEPLOYMENT:
        raise Forbidden(
            f"Agent {agent.id} is of type {agent.type}; only real_deployment agents spend real money."
        )
    return _opened(tx, NewAccount(Scope.AGENT, str(agent.id), currency, money), now)


def of_user(tx: Connection, user: str, currency: str, *, now: datetime) -> Account:
    """The account that pays for the compute of a user's jobs, opened if there is none."""
    return _opened(tx, NewAccount(Scope.USER, user, currency, Money.REAL), now)


def chain(connection: Connection, account: Account, *, campaign: str | None = None) -> list[Account]:
    """Every account that binds what is spent from one, itself included, as far as they are opened.

    In the order of their ids. An agent's spending counts for its owner, their team, the campaign and
    everything; a user's for their team and everything; any other for everything. All in the same currency and
    kind of money.
    """
    subjects = {(account.scope, account.subject), (Scope.GLOBAL, "")}
    user = account.subject if account.scope is Scope.USER else None
    if account.scope is Scope.AGENT:
        user = agent_store.owner(connection, int(account.subject))
    if user is not None:
        subjects.add((Scope.USER, user))
        team = quota_store.book_of(connection, user).team_of(user)
        subjects |= {(Scope.TEAM, team)} if team is not None else set()
    if campaign:
        subjects.add((Scope.CAMPAIGN, names.canonical(campaign)))
    return account_store.find_many(connection, subjects, currency=account.currency, money=account.money)


def accounts(
    connection: Connection,
    *,
    scope: Scope | None = None,
    subject: str | None = None,
    after: int = 0,
    limit: int,
) -> list[Account]:
    return account_store.page(connection, scope=scope, subject=subject, after=after, limit=limit)


def usages(connection: Connection, account_id: int, *, now: datetime) -> list[Usage]:
    """How much of each limit is used in its present window, the shortest period first."""
    return usages_of(connection, [account(connection, account_id)], now=now)[account_id]


def usages_of(connection: Connection, owners: Sequence[Account], *, now: datetime) -> dict[int, list[Usage]]:
    """As ``usages``, of many accounts by their ids."""
    limits = account_store.limits(connection, [owner.id for owner in owners])
    empty = [_empty(owner, limit, now) for owner in owners for limit in limits[owner.id]]
    found: dict[int, list[Usage]] = {owner.id: [] for owner in owners}
    for usage in ledger_store.present(connection, empty, now=now):
        found[usage.account_id].append(usage)
    return found


def limited(
    connection: Connection,
    *,
    now: datetime,
    scopes: Collection[Scope] = tuple(Scope),
    currency: str | None = None,
    money: Money | None = None,
    subjects: Collection[str] | None = None,
    unread: dict[Account, Exception] | None = None,
) -> list[tuple[Account, Usage]]:
    """Every present window of these accounts that has a limit. None means any.

    An account whose windows cannot be told is left out, and added to ``unread``.
    """
    found = account_store.limited(
        connection, scopes=scopes, currency=currency, money=money, subjects=subjects
    )
    owners = {account.id: account for account, _ in found}
    empty = []
    for account, limit in found:
        try:
            empty.append(_empty(account, limit, now))
        except Exception as error:
            if unread is not None:
                unread[account] = error
    usages = ledger_store.present(connection, empty, now=now)
    return [(owners[usage.account_id], usage) for usage in usages]


def _opened(tx: Connection, new: NewAccount, now: datetime) -> Account:
    return account_store.find(tx, new) or open_account(tx, new, now=now)


def _may_spend(connection: Connection, agent_id: str) -> bool:
    return promotion_store.has_promoted(connection, int(agent_id))


def _audit(tx: Connection, before: Sequence[Limit], limit: Limit, by: Principal, now: datetime) -> None:
    was = {str(each.period): each.limit_micros for each in before if each.period is limit.period}
    after = {str(limit.period): limit.limit_micros}
    subject = f"account {limit.account_id}"
    audit.record(tx, "limit.set", subject, by=by, now=now, before=was or None, after=after)


def _empty(owner: Account, limit: Limit, now: datetime) -> Usage:
    span = window(limit.period, owner.timezone, now)
    return Usage(owner.id, limit.period, span, limit.limit_micros)


def _agent_type(tx: Connection, subject: str) -> AgentType:
    agent_id = ids.known(subject)
    agent = None if agent_id is None else agent_store.get(tx, agent_id)
    if agent is None:
        raise NotFound(f"There is no agent {subject}; the subject of an agent's account is its id.")
    return agent.type


def _check_limit(value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_MICROS:
        raise InvalidInput(f"A limit must be 0 to {MAX_MICROS} whole micros, or none; got {value!r}.")
