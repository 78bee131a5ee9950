"""Use cases of budgets: who may open, limit, see and spend from which account."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from gaelp_ray.domain import ids, names
from gaelp_ray.domain import loosening as looser
from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.agents import AgentStatus, AgentType
from gaelp_ray.domain.budgets import Alert, Usage
from gaelp_ray.domain.errors import Forbidden, GaelpError, NotEligible, NotFound
from gaelp_ray.domain.ledger import Account, HeldMoney, HoldState, Money, NewAccount, Scope
from gaelp_ray.domain.loosening import Loosening
from gaelp_ray.domain.roles import Role
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import accounts, ledger, loosening, members, promotions, roles, statements
from gaelp_ray.store import accounts as account_store
from gaelp_ray.store import agents as agent_store
from gaelp_ray.store import ledger as ledger_store
from gaelp_ray.store import quotas as quota_store
from gaelp_ray.store.accounts import Reader
from gaelp_ray.store.positions import Position


@dataclass(frozen=True, slots=True)
class Ask:
    """Somebody wants to book on an account."""

    account_id: int
    by: Principal
    #: Whose account is to be bound as well.
    campaign: str | None = None


@dataclass(frozen=True, slots=True)
class Purse:
    """An account, for somebody who may book on it."""

    account: Account
    #: Every account that what is held spans.
    account_ids: tuple[int, ...]
    #: What its caller named them by; others may be bound later.
    named: str | None = None
    #: An operator books: also what passed no hold, and on accounts that others share.
    operates: bool = False
    #: Of these accounts the agent's own and its owner's.
    own_ids: tuple[int, ...] = ()
    campaign: str | None = None
    #: Only what was answered before is asked for with it: nothing is booked, so no right is asked for.
    again: bool = False

    @property
    def gated(self) -> bool:
        """What is held of it goes through the gate for real money."""
        return self.account.scope is Scope.AGENT and self.account.money is Money.REAL

    @property
    def charged_ids(self) -> tuple[int, ...]:
        """The accounts that a spend without a hold is booked on.

        An operator's counts everywhere. An owner's counts in the agent's own account and theirs, for what
        others share is charged only by what passed a hold. Raises ``Forbidden`` for real money, and for a
        campaign.
        """
        if self.operates or self.again:
            return self.account_ids
        if self.account.money is Money.REAL:
            raise Forbidden(
                "Real money that was spent without a hold is recorded by an operator or by a report of its "
                "platform; hold it before it is spent."
            )
        if self.campaign is not None:
            raise Forbidden(
                f"The budget of campaign {self.campaign!r:.100} is shared, so it is charged by what was held "
                "first; hold the money, or leave `campaign` out."
            )
        return self.own_ids

    def may_settle(self, held: HeldMoney, spent_micros: int) -> bool:
        """Whether so much of a hold may be settled: past the hold, only by who may charge its accounts."""
        if self.operates or self.again:
            return True
        if self.account.money is Money.REAL:
            return held.state is not HoldState.EXPIRED and spent_micros <= held.held_micros
        most = held.posted_micros if held.state is HoldState.EXPIRED else held.held_micros
        return spent_micros <= most or set(held.account_ids) <= set(self.own_ids)


def open_account(
    tx: Connection, new: NewAccount, limits: Mapping[Period, int | None], *, by: Principal, now: datetime
) -> Account:
    """Open an account with its limits; one that was opened so before is returned, limited anew.

    An owner may open accounts of simulated money for their agents, operators every account. Another one of
    real money for an agent, in another currency, passes ``loosening.permit`` with its limits.
    """
    own = new.scope is Scope.AGENT and new.money is Money.SIMULATED and _owner(tx, new.subject) == by.user
    if not own:
        roles.require(tx, Role.OPERATOR, by=by)
    opened = account_store.find(tx, new) is not None
    account = accounts.open_account(tx, new, now=now, by=by)
    another = None if opened else _another(tx, account, limits)
    loosening.permit(tx, another, by=by, now=now)
    for period, limit_micros in limits.items():
        if another is not None:
            accounts.set_limit(tx, account.id, period, limit_micros, by=by, now=now)
        else:
            set_limit(tx, account.id, period, limit_micros, by=by, now=now)
    return account


def set_limit(
    tx: Connection, account_id: int, period: Period, limit_micros: int | None, *, by: Principal, now: datetime
) -> Usage:
    """Limit an account; operators may, and owners the accounts of their agents.

    Raises what ``accounts.change_limit`` raises.
    """
    bookable(tx, account_id, by=by)
    return accounts.change_limit(tx, account_id, period, limit_micros, by=by, now=now)


def visible(connection: Connection, account_id: int, *, by: Principal) -> Account:
    """The account, if the caller may see it; else ``NotFound``.

    Owners see their agents' accounts, users their own and their team's, operators all.
    """
    account = account_store.get(connection, account_id)
    if account is None or not (_may_book(connection, account, by) or _is_of(connection, account, by)):
        raise NotFound(f"There is no budget {account_id}, or you may not see it.")
    return account


def bookable(connection: Connection, account_id: int, *, by: Principal) -> Account:
    """The account, if the caller may book on it: it is their agent's, or they are an operator.

    Raises ``NotFound`` for one that they may not see, ``Forbidden`` for one that they may only see.
    """
    account = account_store.get(connection, account_id)
    if account is not None and _may_book(connection, account, by):
        return account
    account = visible(connection, account_id, by=by)
    raise Forbidden(
        f"You may see the budget of {account.scope} {account.subject}, but neither book on it nor limit it; "
        "ask an operator."
    )


def purse(connection: Connection, ask: Ask) -> Purse:
    """Raises what ``bookable`` raises, and ``Forbidden`` for a campaign that the caller may not charge."""
    account = bookable(connection, ask.account_id, by=ask.by)
    chain = accounts.chain(connection, account, campaign=ask.campaign)
    operates = _operates(connection, ask.by)
    if not operates:
        members.require(connection, chain, user=ask.by.user)
    return _purse(account, chain, ask, operates=operates)


def purse_again(connection: Connection, ask: Ask) -> Purse:
    """The account for who asks again for what was answered before, whatever rights have changed since.

    Whoever calls this makes sure that it was. Raises ``NotFound`` for an account that they may not see.
    """
    account = visible(connection, ask.account_id, by=ask.by)
    chain = accounts.chain(connection, account, campaign=ask.campaign)
    return replace(_purse(account, chain, ask, operates=False), again=True)


def _purse(account: Account, chain: Iterable[Account], ask: Ask, *, operates: bool) -> Purse:
    bound = list(chain)
    return Purse(
        account,
        tuple(each.id for each in bound),
        f"budget {account.id} campaign {ask.campaign or ''}",
        operates,
        tuple(each.id for each in bound if each.scope in {Scope.AGENT, Scope.USER}),
        ask.campaign or None,
    )


def purses(connection: Connection, asked: Iterable[Ask]) -> dict[Ask, Purse | GaelpError]:
    """As ``purse``, for many at once; refusals are values."""
    found: dict[Ask, Purse | GaelpError] = {}
    for ask in asked:
        try:
            found[ask] = purse(connection, ask)
        except GaelpError as refused:
            found[ask] = refused
    return found


def require_eligible(connection: Connection, account: Account, key: str) -> None:
    """Raise ``NotEligible`` unless the agent of an account of real money may spend from it now.

    What was answered under its key before is asked for again, and gets the first answer.
    """
    if ledger.answered(connection, [key]):
        return
    agent = agent_store.get(connection, int(account.subject))
    if agent is None or agent.type is not AgentType.REAL_DEPLOYMENT:
        raise NotEligible(f"Agent {account.subject} is no real deployment; only those spend real money.")
    if agent.status is not AgentStatus.ACTIVE:
        raise NotEligible(f"Agent {agent.id} is {agent.status}; resume it before it spends real money.")
    promotions.require_promoted(connection, agent.current.id)


def page(
    connection: Connection,
    *,
    by: Principal,
    now: datetime,
    scope: Scope | None = None,
    subject: str | None = None,
    money: Money | None = None,
    after: int = 0,
    limit: int,
) -> list[tuple[Account, list[Usage]]]:
    """What the caller may see, in the order of ids, each with the usage of its present windows."""
    reader = None if _operates(connection, by) else Reader(by.user, _team(connection, by.user))
    found = account_store.page(
        connection,
        scope=scope,
        subject=None if subject is None else _subject(scope, subject),
        money=money,
        reader=reader,
        after=after,
        limit=limit,
    )
    usages = accounts.usages_of(connection, found, now=now)
    return [(account, usages[account.id]) for account in found]


def holds(connection: Connection, keys: Iterable[str]) -> dict[str, HeldMoney]:
    """By key; those that do not exist are left out."""
    return ledger_store.get_holds(connection, keys)


def alerts(
    connection: Connection, account_id: int, *, by: Principal, after: int = 0, limit: int
) -> list[tuple[int, Alert]]:
    """Of one account, ids above ``after``."""
    visible(connection, account_id, by=by)
    return statements.alerts(connection, account_id, after=after, limit=limit)


def all_alerts(
    connection: Connection, *, by: Principal, after: Position | None = None, limit: int
) -> list[tuple[Position, Alert]]:
    """Of every account, each with its place. Needs the role of an operator."""
    roles.require(connection, Role.OPERATOR, by=by)
    return statements.all_alerts(connection, after=after, limit=limit)


def _another(
    connection: Connection, account: Account, limits: Mapping[Period, int | None]
) -> Loosening | None:
    others = account_store.of_subject(connection, account.scope, account.subject)
    return looser.of_opening(account, [each for each in others if each.id != account.id], limits)


def _may_book(connection: Connection, account: Account, by: Principal) -> bool:
    own = account.scope is Scope.AGENT and _owner(connection, account.subject) == by.user
    return own or _operates(connection, by)


def _is_of(connection: Connection, account: Account, by: Principal) -> bool:
    mine = {Scope.USER: by.user, Scope.TEAM: _team(connection, by.user)}
    return account.subject == mine.get(account.scope)


def _operates(connection: Connection, by: Principal) -> bool:
    return by.admin or Role.OPERATOR in roles.of_user(connection, by.user)


def _owner(connection: Connection, subject: str) -> str | None:
    agent_id = ids.known(subject)
    return None if agent_id is None else agent_store.owner(connection, agent_id)


def _subject(scope: Scope | None, subject: str) -> str:
    """As it is kept; raises ``InvalidInput`` for an agent that is not named by its id."""
    if scope is Scope.AGENT:
        return str(ids.read(subject, field="subject"))
    return names.canonical(subject)


def _team(connection: Connection, user: str) -> str | None:
    return quota_store.book_of(connection, user).team_of(user)
