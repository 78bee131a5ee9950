"""Use cases of the audit: changes are recorded, read, and proved to be what was recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gaelp_ray.domain import names, subjects
from gaelp_ray.domain.access import SYSTEM, Principal
from gaelp_ray.domain.audit import GENESIS, Break, Record, Seal, Sealed, breaks, canonical
from gaelp_ray.domain.roles import Role, require
from gaelp_ray.store import audit as audit_store
from gaelp_ray.store import policies as policy_store
from gaelp_ray.store import roles as role_store

#: What a proof lists; a chain that was broken once may be broken everywhere.
MAX_BREAKS = 100


def record(
    tx: Connection,
    action: str,
    subject: str,
    *,
    by: Principal,
    now: datetime,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> Seal:
    """Record a change in the transaction that makes it: ``limit.set`` of ``account 7``, before and after.

    Whoever records waits for others that do, until they commit. So it is the last thing that a transaction
    does.
    """
    return audit_store.add(
        tx, Record(now, by.user, action, subject, canonical(before), canonical(after), by.request_id)
    )


def number(tx: Connection) -> None:
    """Take the turn of ``record`` now, before an id is drawn for what will be recorded.

    Such ids are in the order of commits, so who reads a list on from the last id misses nothing that was
    under way meanwhile.
    """
    audit_store.lock(tx)


@dataclass(frozen=True, slots=True)
class Proof:
    """What a verification of the whole chain found."""

    head: Seal
    breaks: tuple[Break, ...]

    @property
    def holds(self) -> bool:
        return not self.breaks


def verify(tx: Connection, *, anchor: Seal | None = None, by: Principal = SYSTEM) -> Proof:
    """Read the whole chain as of one moment and find every record that was edited, removed or moved.

    ``anchor`` is an end of the chain that was kept elsewhere; with it, a chain that was written anew is found
    too. Runs as a transaction of its own. Needs the role of an auditor.
    """
    audit_store.see_one_moment(tx)
    _require_auditor(tx, by)
    head = audit_store.head(tx)
    if head is None:
        return Proof(GENESIS, (Break(0, "head", "The end of the chain was removed."),))
    found: list[Break] = []
    for each in breaks(audit_store.chain(tx), head, anchor=anchor):
        found.append(each)
        if len(found) == MAX_BREAKS:
            break
    return Proof(head, tuple(found))


def page(
    connection: Connection,
    *,
    by: Principal,
    subject: str | None = None,
    actor: str | None = None,
    action: str | None = None,
    after: int = 0,
    limit: int,
) -> list[Sealed]:
    """Records with numbers above ``after``, in order. Needs the role of an auditor.

    Actors and subjects are found in the form in which they are kept, and as they are written here: the oldest
    records are kept as they were written.
    """
    _require_auditor(connection, by)
    return audit_store.page(
        connection,
        subjects=None if subject is None else {subject, _spelled(connection, subjects.read(subject))},
        actors=None if actor is None else {actor, names.canonical(actor)},
        action=action,
        after=after,
        limit=limit,
    )


def export(connection: Connection, *, by: Principal) -> Iterator[Sealed]:
    """The whole chain, to be kept elsewhere. Needs the role of an auditor."""
    _require_auditor(connection, by)
    return audit_store.chain(connection)


def _spelled(connection: Connection, subject: str) -> str:
    """A version of a policy, ``policy caps@2``, by the name as it was first written."""
    name, at, version = (subjects.policy(subject) or "").rpartition("@")
    return f"policy {policy_store.spelled(connection, name)}@{version}" if at else subject


def _require_auditor(connection: Connection, by: Principal) -> None:
    require(Role.AUDITOR, role_store.of_user(connection, by.user), by)
