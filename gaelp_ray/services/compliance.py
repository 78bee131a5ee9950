"""The compliance report of a period: spend, holds, violations, approvals, and who changed what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gaelp_ray.domain import periods, spreadsheets
from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.approvals import Approval
from gaelp_ray.domain.audit import Sealed
from gaelp_ray.domain.roles import Role
from gaelp_ray.services import roles
from gaelp_ray.store import approvals as approval_store
from gaelp_ray.store import audit as audit_store
from gaelp_ray.store import compliance as compliance_store
from gaelp_ray.store import reviews as review_store

#: Columns of a row, in order, the same in every section.
COLUMNS = ("section", "at", "actor", "subject", "what", "amount_micros", "currency", "detail")
SECTIONS = ("spend", "holds", "violations", "approvals", "limits", "changes")
_PAGE = 1000
Row = dict[str, Any]


def report(
    connection: Connection, *, since: datetime, until: datetime, by: Principal, now: datetime
) -> dict[str, list[Row]]:
    """Every row by its section, for JSON. Needs the role of an auditor."""
    found: dict[str, list[Row]] = {section: [] for section in SECTIONS}
    for row in rows(connection, since=since, until=until, by=by, now=now):
        found[row["section"]].append(row)
    return found


def to_csv(found: Mapping[str, Sequence[Row]]) -> str:
    """A report as CSV, with a line of ``COLUMNS`` first."""
    rows = [[row[column] for column in COLUMNS] for section in found.values() for row in section]
    return spreadsheets.written([COLUMNS, *rows], end="\n")


def rows(
    connection: Connection, *, since: datetime, until: datetime, by: Principal, now: datetime
) -> Iterator[Row]:
    """Flat rows of ``COLUMNS``, for CSV: what happened from ``since`` on and before ``until``."""
    roles.require(connection, Role.AUDITOR, by=by)
    periods.check(since, until)
    yield from _spend(connection, since, until)
    yield from _holds(connection, since, until)
    yield from _violations(connection, since, until)
    yield from _approvals(connection, since, until, now)
    changes = audit_store.between(connection, since=since, until=until)
    yield from (_change("limits", each) for each in changes if each.record.action == "limit.set")
    yield from (_change("changes", each) for each in changes if each.record.action != "limit.set")


def _spend(connection: Connection, since: datetime, until: datetime) -> Iterator[Row]:
    for row in compliance_store.spend(connection, since=since, until=until):
        whose = f"{row.scope} {row.subject}".rstrip()
        yield _row(
            "spend",
            subject=f"account {row.account_id}",
            what=whose,
            amount_micros=int(row.posted),
            currency=row.currency,
            detail=row.money,
        )


def _holds(connection: Connection, since: datetime, until: datetime) -> Iterator[Row]:
    for row in compliance_store.holds(connection, since=since, until=until):
        detail = f"{row.count} holds, {int(row.posted)} micros posted"
        yield _row("holds", what=row.state, amount_micros=int(row.held), currency=row.currency, detail=detail)


def _violations(connection: Connection, since: datetime, until: datetime) -> Iterator[Row]:
    after, full = 0, True
    while full:
        page = review_store.violations_page(connection, since=since, until=until, after=after, limit=_PAGE)
        for each in page:
            after = each.id
            yield _row(
                "violations",
                at=each.at.isoformat(),
                subject=f"agent {each.agent_id}",
                what=f"{each.severity} {each.code}",
                amount_micros=each.action.amount_micros,
                currency=each.action.currency,
                detail=each.message,
            )
        full = len(page) == _PAGE


def _approvals(connection: Connection, since: datetime, until: datetime, now: datetime) -> Iterator[Row]:
    after, full = 0, True
    while full:
        page = approval_store.page(connection, since=since, until=until, after=after, limit=_PAGE)
        for each in page:
            after = each.id
            yield _approval(each.at(now))
        full = len(page) == _PAGE


def _approval(approval: Approval) -> Row:
    votes = [f"{v.voter} {'approved' if v.approves else 'rejected'}: {v.reason}" for v in approval.votes]
    return _row(
        "approvals",
        at=approval.requested_at.isoformat(),
        actor=approval.requested_by,
        subject=f"{approval.purpose} of {approval.subject}",
        what=str(approval.state),
        amount_micros=approval.amount_micros,
        currency=approval.currency,
        detail="; ".join([approval.reason, *votes]),
    )


def _change(section: str, each: Sealed) -> Row:
    record = each.record
    return _row(
        section,
        at=record.at.isoformat(),
        actor=record.actor,
        subject=record.subject,
        what=record.action,
        detail=f"{record.before or '-'} -> {record.after or '-'}",
    )


def _row(section: str, **values: Any) -> Row:
    return dict.fromkeys(COLUMNS) | {"section": section} | values
