"""Who has a stake in what is to be approved, and so no vote on it."""

from __future__ import annotations

from sqlalchemy import Connection

from gaelp_ray.domain.approvals import Approval, Purpose
from gaelp_ray.domain.ledger import Scope
from gaelp_ray.store import accounts as account_store
from gaelp_ray.store import agents as agent_store
from gaelp_ray.store import promotions as promotion_store

#: Of the longest id that the database has.
_DIGITS = 18


def of_approval(connection: Connection, approval: Approval) -> dict[str, str]:
    """People with a stake, each with the beginning of a sentence that says which.

    Owners, in what concerns their agents; users, in their own budget; who recorded evidence of a version, in
    its promotion.
    """
    kind, _, name = approval.subject.partition(" ")
    if approval.purpose is Purpose.POLICY:
        _, _, name = (approval.change or "").partition(" agent ")
        kind = "agent"
    if not (name.isascii() and name.isdecimal() and len(name) <= _DIGITS):
        return {}
    if kind == "version":
        return _of_version(connection, int(name))
    return _of_account(connection, int(name)) if kind == "account" else _of_agent(connection, int(name))


def _of_version(connection: Connection, version_id: int) -> dict[str, str]:
    found = agent_store.find_version_by_id(connection, version_id)
    if found is None:
        return {}
    recorders = {each.recorded_by for each in promotion_store.evidence(connection, version_id)}
    recorded = dict.fromkeys(recorders, f"You recorded evidence of version {version_id}")
    return recorded | _of_agent(connection, found.agent_id)


def _of_account(connection: Connection, account_id: int) -> dict[str, str]:
    account = account_store.get(connection, account_id)
    if account is not None and account.scope is Scope.USER:
        return {account.subject: f"Account {account_id} is yours"}
    if account is not None and account.scope is Scope.AGENT:
        return _of_agent(connection, int(account.subject))
    return {}


def _of_agent(connection: Connection, agent_id: int) -> dict[str, str]:
    owner = agent_store.owner(connection, agent_id)
    return {} if owner is None else {owner: f"You own agent {agent_id}"}
