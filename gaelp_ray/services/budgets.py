"""Use cases of budgets: an agent spends against its limit."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from gaelp_ray.domain.errors import BudgetExceeded, IdempotencyConflict, InvalidInput, NotFound
from gaelp_ray.domain.money import MAX_MICROS, units_from_micros
from gaelp_ray.store import agents as agent_store
from gaelp_ray.store import spends


def spend(
    tx: Connection, agent_id: int, *, job_id: int | None, key: str, amount_micros: int, now: datetime
) -> int:
    """Book a spend if it keeps the agent within its limit, and return the balance in micros.

    The same key with the same amount is the same spend and changes nothing. Raises ``BudgetExceeded`` when
    the spend would pass the limit, and then books nothing.
    """
    if isinstance(amount_micros, bool) or not isinstance(amount_micros, int):
        raise InvalidInput(f"A spend is a whole number of micros; got {amount_micros!r}.")
    if not 0 < amount_micros <= MAX_MICROS:
        raise InvalidInput(f"A spend must be 1 to {MAX_MICROS} micros; got {amount_micros}.")
    agent_store.lock(tx, agent_id)
    agent = agent_store.get(tx, agent_id)
    if agent is None:
        raise NotFound(f"There is no agent {agent_id}.")
    earlier = spends.find(tx, agent_id, key)
    if earlier is not None:
        if earlier != amount_micros:
            raise IdempotencyConflict(f"Spend {key!r} was {earlier} micros before, not {amount_micros}.")
        return spends.balance(tx, agent_id)
    balance = spends.balance(tx, agent_id) + amount_micros
    limit = agent.budget_limit_micros
    if limit is not None and balance > limit:
        raise BudgetExceeded(
            f"A spend of {units_from_micros(amount_micros):g} would take agent {agent_id} to "
            f"{units_from_micros(balance):g}, over its limit of {units_from_micros(limit):g}."
        )
    spends.add(
        tx,
        agent_id=agent_id,
        job_id=job_id,
        key=key,
        amount_micros=amount_micros,
        balance_micros=balance,
        now=now,
    )
    return balance
