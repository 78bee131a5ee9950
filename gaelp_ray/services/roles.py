"""Use cases of roles: an admin grants and revokes them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from gaelp_ray.domain import names, roles
from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.roles import Role
from gaelp_ray.services import audit
from gaelp_ray.store import roles as role_store
from gaelp_ray.store.roles import Grant


def grant(tx: Connection, user: str, role: Role, *, by: Principal, now: datetime) -> None:
    by.require_admin()
    user = names.user(user)
    if role_store.add(tx, user, role, by=by.user, now=now):
        audit.record(tx, "role.grant", f"user {user}", by=by, now=now, after={"role": role})


def revoke(tx: Connection, user: str, role: Role, *, by: Principal, now: datetime) -> None:
    by.require_admin()
    user = names.bearer(user, field="user")
    if role_store.remove(tx, user, role):
        audit.record(tx, "role.revoke", f"user {user}", by=by, now=now, before={"role": role})


def grants(connection: Connection, *, by: Principal) -> list[Grant]:
    """Who has which role, by user and role; who is no admin sees his own."""
    return role_store.grants(connection, user=None if by.admin else by.user)


def of_user(connection: Connection, user: str) -> frozenset[Role]:
    return role_store.of_user(connection, user)


def require(connection: Connection, role: Role, *others: Role, by: Principal) -> None:
    """Raise ``Forbidden`` unless the caller has one of the roles."""
    if not by.admin:
        held = role_store.of_user(connection, by.user)
        if not held.intersection(others):
            roles.require(role, held, by)


def may_see_accounts(connection: Connection, *, by: Principal) -> bool:
    """Whether the caller may see figures of everybody's accounts: admins, operators and auditors."""
    return by.admin or bool(of_user(connection, by.user) & {Role.OPERATOR, Role.AUDITOR})
