"""Reviewed actions and violations in the database."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, func, insert, select

from gaelp_ray.domain.safety.dry_run import Recorded
from gaelp_ray.domain.safety.verdicts import (
    Action,
    Allow,
    Clip,
    Deny,
    Halt,
    Measured,
    Reason,
    Severity,
    Verdict,
)
from gaelp_ray.domain.windows import Period
from gaelp_ray.store.positions import Position, feed
from gaelp_ray.store.tables import policies, reviewed_actions, violations


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that an action broke."""

    id: int
    agent_id: int
    policy_id: int | None
    severity: Severity
    code: str
    message: str
    action: Action
    at: datetime
    #: Of the transaction that recorded it.
    xid: int

    @property
    def position(self) -> Position:
        return Position(self.xid, self.id)


def add(
    tx: Connection, key: str, action: Action, measured: Measured, verdict: Verdict, *, now: datetime
) -> int:
    """Store what was reviewed and each rule that it broke."""
    allowed = verdict.action if isinstance(verdict, Allow | Clip) else None
    reasons = () if isinstance(verdict, Allow) else verdict.reasons
    facts = asdict(measured)
    values = {
        "key": key,
        "agent_id": action.agent_id,
        "action": _storable(asdict(action)),
        # In a column of its own, so that processes of the version before read the rest.
        "margin_micros": facts.pop("margin_micros"),
        "measured": _storable(facts),
        "allowed": None if allowed is None else asdict(allowed),
        "verdict": type(verdict).__name__.lower(),
        "at": now,
    }
    added = insert(reviewed_actions).values(**values).returning(reviewed_actions.c.id)
    reviewed_id: int = tx.execute(added).scalar_one()
    rows = [
        {
            "agent_id": action.agent_id,
            "policy_id": reason.policy_id,
            "reviewed_id": reviewed_id,
            "severity": reason.severity,
            "code": reason.code,
            "message": reason.message,
            "at": now,
        }
        for reason in reasons
    ]
    if rows:
        tx.execute(insert(violations), rows)
    return reviewed_id


def find(connection: Connection, key: str) -> tuple[Action, Verdict] | None:
    """What was asked under a key, and the verdict."""
    row = connection.execute(select(reviewed_actions).where(reviewed_actions.c.key == key)).one_or_none()
    if row is None:
        return None
    asked, reasons = _action(row.action), _reasons(connection, row.id)
    if row.allowed is None:
        return asked, Halt(reasons) if row.verdict == Severity.HALT else Deny(reasons)
    allowed = _action(row.allowed)
    return asked, Clip(allowed, reasons) if reasons else Allow(allowed)


def history(
    connection: Connection, agent_id: int, *, since: datetime, until: datetime, limit: int
) -> list[Recorded]:
    """What an agent asked for, oldest first."""
    columns = reviewed_actions.c
    query = (
        select(columns.action, columns.measured, columns.margin_micros, columns.at)
        .where(columns.agent_id == agent_id, columns.at >= since, columns.at < until)
        .order_by(columns.at, columns.id)
        .limit(limit)
    )
    return [
        Recorded(row.at, _action(row.action), _measured(row.measured, row.margin_micros))
        for row in connection.execute(query)
    ]


def peak_profit(connection: Connection, agent_id: int) -> int | None:
    """The best that was ever reported of an agent; None where nothing was."""
    columns = reviewed_actions.c
    peak = columns.measured["peak_profit_micros"].as_integer()
    query = select(func.max(peak)).where(columns.agent_id == agent_id)
    found: int | None = connection.execute(query).scalar_one()
    return found


def violations_page(
    connection: Connection,
    *,
    agent_id: int | None = None,
    severity: Severity | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    after: int = 0,
    limit: int,
) -> list[Violation]:
    """Those that are recorded now, in the order of their ids, ids above ``after``."""
    columns = violations.c
    query = _violations(agent_id, severity, since, until).where(columns.id > after)
    return [_violation(row) for row in connection.execute(query.order_by(columns.id).limit(limit))]


def violations_feed(
    connection: Connection,
    *,
    agent_id: int | None = None,
    severity: Severity | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    after: Position | None = None,
    limit: int,
) -> list[Violation]:
    """After a place, in an order that skips none."""
    query = feed(_violations(agent_id, severity, since, until), violations, after, limit=limit)
    return [_violation(row) for row in connection.execute(query)]


def _violations(
    agent_id: int | None, severity: Severity | None, since: datetime | None, until: datetime | None
) -> Select[Any]:
    columns = violations.c
    query = select(violations, reviewed_actions.c.action).join(
        reviewed_actions, reviewed_actions.c.id == columns.reviewed_id
    )
    if agent_id is not None:
        query = query.where(columns.agent_id == agent_id)
    if severity is not None:
        query = query.where(columns.severity == severity)
    if since is not None:
        query = query.where(columns.at >= since)
    if until is not None:
        query = query.where(columns.at < until)
    return query


def count_violations(connection: Connection, *, since: datetime) -> dict[tuple[str, str], int]:
    """How many of each severity and code."""
    columns = violations.c
    query = (
        select(columns.severity, columns.code, func.count())
        .where(columns.at >= since)
        .group_by(columns.severity, columns.code)
    )
    return {(severity, code): count for severity, code, count in connection.execute(query)}


def _storable(value: Any) -> Any:
    """With what is no number as text: a refused NaN is worth recording, and JSON has none."""
    if isinstance(value, dict):
        return {key: _storable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _reasons(connection: Connection, reviewed_id: int) -> tuple[Reason, ...]:
    columns = violations.c
    query = (
        select(violations, policies.c.name, policies.c.version)
        .outerjoin(policies, policies.c.id == columns.policy_id)
        .where(columns.reviewed_id == reviewed_id)
        .order_by(columns.id)
    )
    return tuple(
        Reason(
            row.code,
            row.message,
            Severity(row.severity),
            f"{row.name}@{row.version}" if row.policy_id is not None else None,
            row.policy_id,
        )
        for row in connection.execute(query)
    )


def _violation(row: Any) -> Violation:
    severity = Severity(row.severity)
    action = _action(row.action)
    return Violation(
        row.id, row.agent_id, row.policy_id, severity, row.code, row.message, action, row.at, int(row.xid)
    )


def _action(stored: dict[str, Any]) -> Action:
    return Action(**stored | {"categories": tuple(stored["categories"])})


def _measured(stored: dict[str, Any], margin_micros: int) -> Measured:
    spent = {Period(period): micros for period, micros in stored["spent_micros"].items()}
    series = {name: tuple(values) for name, values in stored["series"].items()}
    known = {"spent_micros": spent, "series": series, "margin_micros": margin_micros}
    return Measured(**stored | known)
