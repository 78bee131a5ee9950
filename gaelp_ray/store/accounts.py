"""Accounts and their limits in the database."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, cast, func, insert, or_, select
from sqlalchemy.dialects.postgresql import insert as upsert

from gaelp_ray.domain.ledger import Account, Limit, Money, NewAccount, Scope
from gaelp_ray.domain.windows import Period
from gaelp_ray.store.tables import account_limits, accounts, agents

_SHORTEST_FIRST = {period: place for place, period in enumerate(Period)}
_PERIODS = {str(period): period for period in Period}


@dataclass(frozen=True, slots=True)
class Reader:
    """Who sees no accounts but those of his agents, his own, and his team's."""

    user: str
    team: str | None


def find(connection: Connection, new: NewAccount) -> Account | None:
    """The account of this subject and kind of money."""
    query = select(accounts).where(
        accounts.c.scope == new.scope,
        accounts.c.subject == new.subject,
        accounts.c.currency == new.currency,
        accounts.c.money == new.money,
    )
    row = connection.execute(query).one_or_none()
    return _account(row) if row else None


def get(connection: Connection, account_id: int) -> Account | None:
    row = connection.execute(select(accounts).where(accounts.c.id == account_id)).one_or_none()
    return _account(row) if row else None


def get_many(connection: Connection, account_ids: Iterable[int]) -> list[Account]:
    """In the order of their ids; those that do not exist are left out."""
    query = select(accounts).where(accounts.c.id == func.any(sorted(account_ids))).order_by(accounts.c.id)
    return [_account(row) for row in connection.execute(query)]


def find_many(
    connection: Connection, subjects: Iterable[tuple[Scope, str]], *, currency: str, money: Money
) -> list[Account]:
    """Those of the accounts of these subjects that were opened, in the order of their ids."""
    wanted = set(subjects)
    query = (
        select(accounts)
        .where(
            # More than what is wanted, and quicker to say and to plan than so many pairs.
            accounts.c.scope == func.any([str(scope) for scope in {scope for scope, _ in wanted}]),
            accounts.c.subject == func.any(sorted({subject for _, subject in wanted})),
            accounts.c.currency == currency,
            accounts.c.money == money,
        )
        .order_by(accounts.c.id)
    )
    found = map(_account, connection.execute(query))
    return [account for account in found if (account.scope, account.subject) in wanted]


def page(
    connection: Connection,
    *,
    scope: Scope | None = None,
    subject: str | None = None,
    money: Money | None = None,
    reader: Reader | None = None,
    after: int,
    limit: int,
) -> list[Account]:
    """In the order of their ids, those above ``after``; without ``reader``, of everybody."""
    query = select(accounts).where(accounts.c.id > after).order_by(accounts.c.id).limit(limit)
    if scope is not None:
        query = query.where(accounts.c.scope == scope)
    if subject is not None:
        query = query.where(accounts.c.subject == subject)
    if money is not None:
        query = query.where(accounts.c.money == money)
    if reader is not None:
        query = query.where(_seen_by(reader))
    return [_account(row) for row in connection.execute(query)]


def add(tx: Connection, new: NewAccount, *, now: datetime) -> bool:
    """False: somebody opened it before. Every account counts its total, limited or not."""
    added = tx.execute(
        upsert(accounts)
        .values(
            scope=new.scope,
            subject=new.subject,
            currency=new.currency,
            money=new.money,
            timezone=new.timezone,
            closes_at=new.closes_at,
            created_at=now,
        )
        .on_conflict_do_nothing()
        .returning(accounts.c.id)
    ).scalar_one_or_none()
    if added is None:
        return False
    tx.execute(insert(account_limits).values(account_id=added, period=Period.TOTAL, updated_at=now))
    return True


def lock(tx: Connection, account_ids: Iterable[int]) -> dict[int, Account]:
    """Hold the rows until the end of the transaction; ids that do not exist are left out.

    The lock lets others refer to the rows by foreign keys meanwhile.
    """
    query = (
        select(accounts)
        .where(accounts.c.id == func.any(sorted(account_ids)))
        .order_by(accounts.c.id)
        .with_for_update(key_share=True)
    )
    return {row.id: _account(row) for row in tx.execute(query).all()}


def limits(connection: Connection, account_ids: Iterable[int]) -> dict[int, list[Limit]]:
    """Each account's limits, of the shortest period first."""
    columns = account_limits.c
    query = select(columns.account_id, columns.period, columns.limit_micros).where(
        columns.account_id == func.any(sorted(account_ids))
    )
    found: dict[int, list[Limit]] = {}
    for account_id, period, limit_micros in connection.execute(query).all():
        found.setdefault(account_id, []).append(Limit(account_id, _PERIODS[period], limit_micros))
    for each in found.values():
        each.sort(key=lambda limit: _SHORTEST_FIRST[limit.period])
    return found


def limited(
    connection: Connection,
    *,
    scopes: Collection[Scope] = tuple(Scope),
    currency: str | None = None,
    money: Money | None = None,
    subjects: Collection[str] | None = None,
) -> list[tuple[Account, Limit]]:
    """Accounts with what limits them; those that nothing does are left out. None means any."""
    query = (
        select(accounts, account_limits.c.period, account_limits.c.limit_micros)
        .join(account_limits, account_limits.c.account_id == accounts.c.id)
        .where(
            accounts.c.scope.in_([str(scope) for scope in scopes]),
            account_limits.c.limit_micros.is_not(None),
        )
        .order_by(accounts.c.id)
    )
    if currency is not None:
        query = query.where(accounts.c.currency == currency)
    if money is not None:
        query = query.where(accounts.c.money == money)
    if subjects is not None:
        query = query.where(accounts.c.subject.in_(subjects))
    return [
        (_account(row), Limit(row.id, _PERIODS[row.period], row.limit_micros))
        for row in connection.execute(query)
    ]


def set_limit(tx: Connection, limit: Limit, *, now: datetime) -> None:
    values = {"limit_micros": limit.limit_micros, "updated_at": now}
    tx.execute(
        upsert(account_limits)
        .values(account_id=limit.account_id, period=limit.period, **values)
        .on_conflict_do_update(index_elements=["account_id", "period"], set_=values)
    )


def limited_at(connection: Connection, account_id: int, period: Period) -> datetime | None:
    """When a limit was last set; None: never."""
    columns = account_limits.c
    query = select(columns.updated_at).where(columns.account_id == account_id, columns.period == period)
    found: datetime | None = connection.execute(query).scalar_one_or_none()
    return found


def of_subject(connection: Connection, scope: Scope, subject: str) -> list[Account]:
    """All accounts of an agent, user, team or campaign, in the order of their ids."""
    columns = accounts.c
    query = select(accounts).where(columns.scope == scope, columns.subject == subject).order_by(columns.id)
    return [_account(row) for row in connection.execute(query)]


def _seen_by(reader: Reader) -> ColumnElement[bool]:
    columns = accounts.c
    own = select(cast(agents.c.id, Text)).where(agents.c.owner == reader.user)
    seen = [
        (columns.scope == Scope.AGENT) & columns.subject.in_(own),
        (columns.scope == Scope.USER) & (columns.subject == reader.user),
    ]
    if reader.team is not None:
        seen.append((columns.scope == Scope.TEAM) & (columns.subject == reader.team))
    return or_(*seen)


def _account(row: Any) -> Account:
    return Account(
        id=row.id,
        scope=Scope(row.scope),
        subject=row.subject,
        currency=row.currency,
        money=Money(row.money),
        timezone=row.timezone,
        closes_at=row.closes_at,
    )
