"""Kill switches in the database.

Whoever moves a switch and whoever holds money take the same advisory lock, the one alone and the others
together. So a switch waits for holds that are being made, and every hold made after it sees it. An advisory
lock writes nothing, where a row that every hold locks would be written by each.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    false,
    func,
    or_,
    select,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from gaelp_ray.domain import ids
from gaelp_ray.domain.agents import AgentStatus
from gaelp_ray.domain.jobs import TERMINAL
from gaelp_ray.domain.switches import (
    EVERYTHING,
    MAX_COVERED,
    Board,
    Covered,
    Switch,
    SwitchScope,
    Target,
)
from gaelp_ray.store.tables import accounts, agents, jobs, kill_switches

#: Any constant that no other advisory lock uses.
_LOCK = 7_305_042
CHANNEL = "gaelp_switches"


def lock(tx: Connection) -> None:
    """Wait until no hold is being made, and let none be made until the transaction ends."""
    tx.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def lock_shared(tx: Connection) -> None:
    """Keep every switch where it is until the transaction ends. Taken before the rows of accounts."""
    tx.execute(text("SELECT pg_advisory_xact_lock_shared(:key)"), {"key": _LOCK})


def get(connection: Connection, target: Target) -> Switch | None:
    """None: it was never engaged."""
    columns = kill_switches.c
    query = select(kill_switches).where(columns.scope == target.scope, columns.subject == target.subject)
    row = connection.execute(query).one_or_none()
    return _switch(row) if row else None


def put(tx: Connection, switch: Switch) -> None:
    """Write a switch, and tell the guards once it is committed."""
    values = {
        "engaged": switch.engaged,
        "reason": switch.reason,
        "changed_by": switch.changed_by,
        "changed_at": switch.changed_at,
    }
    tx.execute(
        upsert(kill_switches)
        .values(scope=switch.target.scope, subject=switch.target.subject, **values)
        .on_conflict_do_update(index_elements=["scope", "subject"], set_=values)
    )
    tx.execute(text(f"NOTIFY {CHANNEL}"))


def engaged(connection: Connection) -> list[Switch]:
    columns = kill_switches.c
    query = select(kill_switches).where(columns.engaged).order_by(columns.scope, columns.subject)
    return [_switch(row) for row in connection.execute(query)]


def board(
    connection: Connection, *, account_ids: Collection[int] | None = None, job_ids: Collection[int] = ()
) -> Board:
    """Engaged switches by what they stop: of these accounts and jobs, or of all accounts."""
    found = {switch.target: switch for switch in engaged(connection)}
    if not found:
        return Board()
    everything = found.get(EVERYTHING)
    given = {"accounts": None if account_ids is None else sorted(account_ids), "jobs": sorted(job_ids)}
    accounts, jobs = {}, {}
    for account_id, job_id, scope, subject in connection.execute(_STOPPED, given):
        switch = found[Target(SwitchScope(scope), subject)]
        if account_id is not None:
            accounts[account_id] = switch
        else:
            jobs[job_id] = switch
    return Board(everything, accounts, jobs)


#: Whoever stops a user stops all that the user's agents spend, and their jobs.
_STOPPED = text(
    """
    SELECT a.id AS account_id, NULL::bigint AS job_id, k.scope, k.subject
    FROM kill_switches k JOIN accounts a ON (a.scope, a.subject) = (k.scope, k.subject)
    WHERE k.engaged AND k.scope <> 'global' AND a.id = ANY(coalesce(:accounts, ARRAY[a.id]))
    UNION ALL
    SELECT a.id, NULL, k.scope, k.subject
    FROM kill_switches k
    JOIN agents g ON g.owner = k.subject
    JOIN accounts a ON a.scope = 'agent' AND a.subject = g.id::text
    WHERE k.engaged AND k.scope = 'user' AND a.id = ANY(coalesce(:accounts, ARRAY[a.id]))
    UNION ALL
    SELECT NULL, j.id, k.scope, k.subject
    FROM kill_switches k
    JOIN jobs j ON (k.scope, k.subject) IN (('agent', j.agent_id::text), ('user', j.owner))
    WHERE k.engaged AND j.id = ANY(:jobs)
    """
).bindparams(bindparam("accounts", type_=ARRAY(BigInteger)), bindparam("jobs", type_=ARRAY(BigInteger)))


def covered(connection: Connection, target: Target) -> Covered:
    """What a target is made of as things are."""
    mine = _agents_of(target)
    theirs = [
        accounts.c.scope == SwitchScope.AGENT,
        accounts.c.subject.in_(select(cast(agents.c.id, Text)).where(*mine)),
    ]
    named = [accounts.c.scope == target.scope, accounts.c.subject == target.subject]
    everything = target == EVERYTHING
    found_agents = select(agents.c.id).where(*mine, agents.c.status != AgentStatus.ARCHIVED)
    found_accounts = select(accounts.c.id).where(true() if everything else or_(and_(*theirs), and_(*named)))
    found_jobs = select(jobs.c.id).where(
        jobs.c.state.not_in([*TERMINAL]),
        true() if everything else jobs.c.agent_id.in_(select(agents.c.id).where(*mine)),
    )

    def count(query: Select[Any]) -> int:
        return connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()

    def first(query: Select[Any]) -> tuple[int, ...]:
        return tuple(
            connection.execute(query.order_by(query.selected_columns.id).limit(MAX_COVERED)).scalars()
        )

    return Covered(
        first(found_agents),
        first(found_accounts),
        count(found_agents),
        count(found_accounts),
        count(found_jobs),
    )


def _agents_of(target: Target) -> list[ColumnElement[bool]]:
    match target.scope:
        case SwitchScope.AGENT:
            return [agents.c.id == ids.known(target.subject)]
        case SwitchScope.USER:
            return [agents.c.owner == target.subject]
        case SwitchScope.CAMPAIGN:
            return [false()]
        case SwitchScope.GLOBAL:
            return [true()]


def _switch(row: Any) -> Switch:
    target = Target(SwitchScope(row.scope), row.subject)
    return Switch(target, row.engaged, row.reason, row.changed_by, row.changed_at)
