"""Whether jobs may spend real money, asked before they start; each spend passes the gate of ``reviews``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from gaelp_ray.domain.agents import Agent
from gaelp_ray.domain.duties import Failed, Troubles, isolated
from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.ledger import Money, money_of
from gaelp_ray.domain.scheduling import Blocked, WaitCode
from gaelp_ray.services import accounts
from gaelp_ray.store import accounts as account_store
from gaelp_ray.store import agents as agent_store
from gaelp_ray.store import promotions as promotion_store


def account_for(tx: Connection, agent: Agent, money: Money, *, now: datetime) -> int:
    """What a job of an agent spends from. Raises ``InvalidInput`` for real money that nothing limits."""
    if money is not money_of(agent.type):
        main = accounts.account(tx, agent.account_id)
        return accounts.of_agent(tx, agent, money, main.currency, now=now).id
    usages = accounts.usages(tx, agent.account_id, now=now) if money is Money.REAL else []
    if money is Money.REAL and all(usage.limit_micros is None for usage in usages):
        raise InvalidInput(
            f"Agent {agent.id} has no budget of real money; set `budget_limit` before a job may spend any.",
            field="money",
        )
    return agent.account_id


def unready(
    connection: Connection,
    versions: Mapping[int, int],
    *,
    now: datetime,
    troubles: Troubles[str] | None = None,
) -> dict[int, Blocked]:
    """Versions that may not spend real money now: they were not promoted, or their budget is used up.

    ``versions``: those that are asked for, each with its agent. A budget that cannot be read allows nothing;
    ``troubles`` hears of it.
    """
    if not versions:
        return {}
    promoted = promotion_store.promoted(connection, versions)
    agents = sorted({versions[each] for each in promoted})

    def together(part: Sequence[int]) -> list[Blocked | None]:
        used_up = _used_up(connection, part, now)
        return [used_up.get(agent_id) for agent_id in part]

    empty: dict[int, Blocked] = {}
    for agent_id, result in zip(agents, isolated(agents, together), strict=True):
        if isinstance(result, Failed):
            empty[agent_id] = _UNREAD
            if troubles is not None:
                troubles.add(f"budget of agent {agent_id}", result.error)
        elif result is not None:
            empty[agent_id] = result
    found = {each: empty[versions[each]] for each in promoted if versions[each] in empty}
    return found | {each: _NOT_PROMOTED for each in versions if each not in promoted}


def _used_up(connection: Connection, agent_ids: Collection[int], now: datetime) -> dict[int, Blocked]:
    agents = agent_store.get_many(connection, sorted(agent_ids))
    owners = {agent.account_id: agent.id for agent in agents.values()}
    usages = accounts.usages_of(connection, account_store.get_many(connection, owners), now=now)
    return {
        owners[usage.account_id]: Blocked(
            WaitCode.BUDGET_EXCEEDED,
            f"The budget of agent {owners[usage.account_id]} for its {usage.period} window is used up.",
        )
        for of_account in usages.values()
        for usage in of_account
        if usage.remaining_micros == 0
    }


_UNREAD = Blocked(
    WaitCode.BUDGET_UNVERIFIABLE,
    "The budget of its agent cannot be read; operators are told.",
)
_NOT_PROMOTED = Blocked(
    WaitCode.APPROVAL_REQUIRED,
    "Its version was not promoted to real money; record evidence, have it approved, promote it.",
)
