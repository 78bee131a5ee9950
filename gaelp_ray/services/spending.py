"""Whether jobs may spend real money, asked before they start; each spend passes the gate of ``reviews``."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection

from gaelp_ray.domain.agents import Agent
from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.ledger import Money, money_of
from gaelp_ray.domain.scheduling import Blocked, WaitCode
from gaelp_ray.services import accounts
from gaelp_ray.store import agents as agent_store
from gaelp_ray.store import promotions as promotion_store


def account_for(tx: Connection, agent: Agent, money: Money, currency: str, *, now: datetime) -> int:
    """What a job of an agent spends from. Raises ``InvalidInput`` for real money that nothing limits."""
    if money is not money_of(agent.type):
        return accounts.of_agent(tx, agent, money, currency, now=now).id
    usages = accounts.usages(tx, agent.account_id, now=now) if money is Money.REAL else []
    if money is Money.REAL and all(usage.limit_micros is None for usage in usages):
        raise InvalidInput(
            f"Agent {agent.id} has no budget of real money; set `budget_limit` before a job may spend any.",
            field="money",
        )
    return agent.account_id


def unready(connection: Connection, version_ids: Collection[int], *, now: datetime) -> dict[int, Blocked]:
    """Versions that may not spend real money now: they were not promoted, or their budget is used up."""
    if not version_ids:
        return {}
    promoted = promotion_store.promoted(connection, version_ids)
    found = {each: Blocked(WaitCode.APPROVAL_REQUIRED, _NOT_PROMOTED) for each in set(version_ids) - promoted}
    for version_id in promoted:
        agent = agent_store.get(connection, agent_store.version_by_id(connection, version_id).agent_id)
        assert agent is not None
        spent = [
            usage
            for usage in accounts.usages(connection, agent.account_id, now=now)
            if usage.remaining_micros == 0
        ]
        if spent:
            words = f"The budget of agent {agent.id} for its {spent[0].period} window is used up."
            found[version_id] = Blocked(WaitCode.BUDGET_EXCEEDED, words)
    return found


_NOT_PROMOTED = (
    "Its version was not promoted to real money; record evidence, have it approved, and promote it."
)
