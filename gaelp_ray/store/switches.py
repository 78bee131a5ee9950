"""Kill switches in the database.

Whoever moves a switch and whoever holds money take the same advisory lock, the one alone and the others
together. So a switch waits for holds that are being made, and every hold made after it sees it. An advisory
lock writes nothing, where a row that every hold locks would be written by each.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import BigInteger, Connection, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from gaelp_ray.domain.switches import EVERYTHING, Board, Switch, SwitchScope, Target
from gaelp_ray.store.tables import kill_switches

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


def _switch(row: Any) -> Switch:
    target = Target(SwitchScope(row.scope), row.subject)
    return Switch(target, row.engaged, row.reason, row.changed_by, row.changed_at)
