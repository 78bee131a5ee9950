"""Use cases of members: who may charge a campaign's budget, beside operators."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection

from gaelp_ray.domain import names
from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.errors import Forbidden, InvalidInput, NotFound
from gaelp_ray.domain.ledger import Account, Scope
from gaelp_ray.domain.roles import Role
from gaelp_ray.services import audit, roles
from gaelp_ray.store import accounts as account_store
from gaelp_ray.store import members as member_store
from gaelp_ray.store.members import Member


def add(tx: Connection, account_id: int, user: str, *, by: Principal, now: datetime) -> None:
    """Let a user charge a campaign's budget with what their agents hold. Operators only.

    Limits and policies bind the user as everybody else. Who is a member already stays one.
    """
    account = _campaign(tx, account_id, by)
    user = names.user(user)
    if member_store.add(tx, account.id, user, by=by.user, now=now):
        audit.record(tx, "member.add", f"account {account.id}", by=by, now=now, after={"user": user})


def remove(tx: Connection, account_id: int, user: str, *, by: Principal, now: datetime) -> None:
    """Who is no member stays none; what was held stays held. Operators only."""
    account, user = _campaign(tx, account_id, by), names.bearer(user, field="user")
    if member_store.remove(tx, account.id, user):
        audit.record(tx, "member.remove", f"account {account.id}", by=by, now=now, before={"user": user})


def of_account(connection: Connection, account_id: int, *, by: Principal) -> list[Member]:
    """By name. Operators only."""
    return member_store.of_account(connection, _campaign(connection, account_id, by).id)


def require(connection: Connection, chain: Iterable[Account], *, user: str) -> None:
    """Raise ``Forbidden`` where a user would charge the budget of a campaign and is no member of it."""
    for account in chain:
        if account.scope is Scope.CAMPAIGN and not member_store.is_member(connection, account.id, user):
            raise Forbidden(
                f"You are no member of campaign {account.subject!r:.100}, so you may not charge its budget "
                f"{account.id}; ask an operator to add you.",
                account_id=account.id,
            )


def require_for_owner(connection: Connection, chain: Iterable[Account], *, owner: str) -> None:
    """As ``require``, for what the jobs of a user do; operators are members everywhere."""
    if Role.OPERATOR not in roles.of_user(connection, owner):
        require(connection, chain, user=owner)


def _campaign(connection: Connection, account_id: int, by: Principal) -> Account:
    roles.require(connection, Role.OPERATOR, by=by)
    account = account_store.get(connection, account_id)
    if account is None:
        raise NotFound(f"There is no budget {account_id}.")
    if account.scope is not Scope.CAMPAIGN:
        raise InvalidInput(
            f"Budget {account_id} is of {account.scope} {account.subject}; only campaigns have members."
        )
    return account
