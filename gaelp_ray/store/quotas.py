"""Quotas in the database, and what their owners hold and held."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, or_, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert

from gaelp_ray.domain.duties import Troubles
from gaelp_ray.domain.quotas import DEFAULT_USER, UNLIMITED, Amounts, Quota, QuotaBook, QuotaKind
from gaelp_ray.store import rows
from gaelp_ray.store.tables import attempts, jobs, quotas


@dataclass(frozen=True)
class StoredQuota:
    """A quota and who last set it; nobody, where only the default applies."""

    quota: Quota
    updated_at: datetime | None = None
    updated_by: str | None = None


def put(tx: Connection, quota: Quota, *, by: str, now: datetime) -> None:
    values = {
        "team": quota.team,
        "limits": {
            "limit": _written(quota.limit),
            "borrowing": _written(quota.borrowing),
            "lending": _written(quota.lending),
        },
        "weight": quota.weight,
        "queued_limit": quota.queued if quota.queued < UNLIMITED else None,
        "updated_at": now,
        "updated_by": by,
    }
    tx.execute(
        insert(quotas)
        .values(kind=quota.kind, name=quota.name, **values)
        .on_conflict_do_update(index_elements=["kind", "name"], set_=values)
    )


def remove(tx: Connection, kind: QuotaKind, name: str) -> bool:
    gone = tx.execute(delete(quotas).where(quotas.c.kind == kind, quotas.c.name == name))
    return gone.rowcount == 1


def get(connection: Connection, kind: QuotaKind, name: str) -> StoredQuota | None:
    row = connection.execute(select(quotas).where(quotas.c.kind == kind, quotas.c.name == name)).one_or_none()
    return _stored(row) if row else None


def page(
    connection: Connection,
    *,
    kind: QuotaKind | None,
    only: Sequence[tuple[QuotaKind, str]] | None,
    after: tuple[QuotaKind, str] | None,
    limit: int,
) -> list[StoredQuota]:
    """By kind and name, those after ``after``; with ``only``, none but these."""
    key = tuple_(quotas.c.kind, quotas.c.name)
    query = select(quotas).order_by(quotas.c.kind, quotas.c.name).limit(limit)
    if kind is not None:
        query = query.where(quotas.c.kind == kind)
    if only is not None:
        query = query.where(key.in_([(str(k), name) for k, name in only]))
    if after is not None:
        query = query.where(key > tuple_(str(after[0]), after[1]))
    return [_stored(row) for row in connection.execute(query)]


def book(connection: Connection, troubles: Troubles[str] | None = None) -> QuotaBook:
    """Every quota in force. One that cannot be read allows nothing; ``troubles`` hears of it."""
    found = connection.execute(select(quotas))
    return QuotaBook.of(_in_force(row, Troubles() if troubles is None else troubles) for row in found)


def book_of(connection: Connection, *users: str) -> QuotaBook:
    """Whatever decides what users may hold: their own quota or the default, their teams', teammates'."""
    own = and_(quotas.c.kind == QuotaKind.USER, quotas.c.name.in_([*users, DEFAULT_USER]))
    teams = select(quotas.c.team).where(own, quotas.c.team.is_not(None)).scalar_subquery()
    team: ColumnElement[bool] = and_(quotas.c.kind == QuotaKind.TEAM, quotas.c.name.in_(teams))
    found = connection.execute(select(quotas).where(or_(own, team, quotas.c.team.in_(teams))))
    return QuotaBook.of(_in_force(row, Troubles()) for row in found)


def held(connection: Connection, owners: Sequence[str] | None = None) -> dict[str, Amounts]:
    """What users hold now by their live attempts; without ``owners``, all who hold anything."""
    amounts = [func.sum(column * attempts.c.workers) for column in rows.resources_columns(attempts)]
    query = (
        select(jobs.c.owner, *amounts, func.count())
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .where(attempts.c.ended_at.is_(None))
        .group_by(jobs.c.owner)
    )
    if owners is not None:
        query = query.where(jobs.c.owner == func.any(list(owners)))
    return {row[0]: Amounts(*map(int, row[1:])) for row in connection.execute(query)}


_AMOUNTS = {
    "cpu": "attempts.cpu_milli * attempts.workers",
    "memory": "attempts.memory_bytes * attempts.workers",
    "gpu": "attempts.gpu_milli * attempts.workers",
    "storage": "attempts.storage_bytes * attempts.workers",
    "jobs": "1",
}
_OVER_TIME = """
    WITH lives AS (
        SELECT {amount} AS amount, attempts.created_at AS begun, coalesce(attempts.ended_at, :now) AS ended
        FROM attempts
        JOIN jobs ON jobs.id = attempts.job_id
        WHERE jobs.owner = ANY(:owners) AND attempts.created_at < :until
            AND (attempts.ended_at IS NULL OR attempts.ended_at > :since)
    ), buckets AS (
        SELECT CAST(:since AS timestamptz) + n * CAST(:width AS interval) AS begins,
               CAST(:since AS timestamptz) + (n + 1) * CAST(:width AS interval) AS ends
        FROM generate_series(0, :buckets - 1) AS n
    )
    SELECT begins, coalesce(sum(
        amount * extract(epoch FROM least(ended, ends) - greatest(begun, begins))
    ), 0) / extract(epoch FROM CAST(:width AS interval)) AS average
    FROM buckets
    LEFT JOIN lives ON begun < ends AND ended > begins
    GROUP BY begins
    ORDER BY begins
    """


def over_time(
    connection: Connection,
    owners: Sequence[str],
    resource: str,
    *,
    since: datetime,
    until: datetime,
    buckets: int,
    now: datetime,
) -> list[tuple[datetime, float]]:
    """What users held on average in each of ``buckets`` equal spans, by the lives of their attempts."""
    query = text(_OVER_TIME.format(amount=_AMOUNTS[resource]))
    span = {"since": since, "until": until, "width": (until - since) / buckets, "buckets": buckets}
    found = connection.execute(query, {"owners": list(owners), "now": now, **span})
    return [(row.begins, float(row.average)) for row in found]


def _in_force(row: Row[Any], troubles: Troubles[str]) -> Quota:
    try:
        quota = _stored(row).quota
        if not 0 < quota.weight < math.inf:
            raise ValueError(f"its weight is {quota.weight}")
    except Exception as error:
        troubles.add(f"quota of {row.kind} {row.name}", error)
        nothing = Amounts()
        return Quota(QuotaKind(row.kind), row.name, nothing, row.team, borrowing=nothing, lending=nothing)
    return quota


def _stored(row: Row[Any]) -> StoredQuota:
    quota = Quota(
        kind=QuotaKind(row.kind),
        name=row.name,
        limit=_read(row.limits["limit"]),
        team=row.team,
        borrowing=_read(row.limits["borrowing"]),
        lending=_read(row.limits["lending"]),
        weight=row.weight,
        queued=UNLIMITED if row.queued_limit is None else row.queued_limit,
    )
    return StoredQuota(quota, row.updated_at, row.updated_by)


def _written(amounts: Amounts) -> dict[str, int]:
    return {name: value for name, value in asdict(amounts).items() if value < UNLIMITED}


def _read(limited: Mapping[str, int]) -> Amounts:
    if not all(isinstance(value, int) and value >= 0 for value in limited.values()):
        raise ValueError(f"limits are whole numbers from 0 on; got {limited}")
    return Amounts(**{**asdict(Amounts.all(UNLIMITED)), **limited})
