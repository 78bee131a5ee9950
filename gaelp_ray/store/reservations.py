"""Room kept for jobs that others stop for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, or_, select
from sqlalchemy.dialects.postgresql import insert

from gaelp_ray.domain.attempts import Seat
from gaelp_ray.domain.duties import Troubles
from gaelp_ray.domain.jobs import JobState
from gaelp_ray.domain.scheduling import Part, Reservation
from gaelp_ray.store import rows
from gaelp_ray.store.tables import jobs, reservations


def put(tx: Connection, placements: Mapping[int, Sequence[Seat]], *, until: datetime) -> None:
    """Keep room for these jobs, in place of what was kept for them before."""
    if not placements:
        return
    fresh = insert(reservations).values(
        [
            {"job_id": job_id, "placement": rows.placement(seats), "until": until}
            for job_id, seats in sorted(placements.items())
        ]
    )
    kept = {"placement": fresh.excluded.placement, "until": fresh.excluded.until}
    tx.execute(fresh.on_conflict_do_update(index_elements=["job_id"], set_=kept))


def in_force(
    connection: Connection, *, now: datetime, troubles: Troubles[str] | None = None
) -> tuple[Reservation, ...]:
    """Room that is kept now. What cannot be read is not kept; ``troubles`` hears of it."""
    troubles = Troubles() if troubles is None else troubles
    query = (
        select(
            reservations.c.job_id,
            reservations.c.placement,
            reservations.c.until,
            *rows.resources_columns(jobs),
        )
        .join(jobs, jobs.c.id == reservations.c.job_id)
        .where(reservations.c.until > now)
        .order_by(reservations.c.job_id)
    )
    rows_by_name = {f"reservation of job {row.job_id}": row for row in connection.execute(query)}
    return tuple(troubles.each(list(rows_by_name), lambda name: _reservation(rows_by_name[name])))


def _reservation(row: Row[Any]) -> Reservation:
    amount = rows.resources(row)
    parts = tuple(Part(seat.node_id, amount, seat.gpus) for seat in rows.seats(row.placement))
    return Reservation(row.job_id, parts, row.until)


def prune(tx: Connection, *, now: datetime) -> None:
    """Give up the room of jobs that wait no more, or have waited too long for it."""
    waits = exists().where(jobs.c.id == reservations.c.job_id, jobs.c.state == JobState.QUEUED)
    tx.execute(delete(reservations).where(or_(reservations.c.until <= now, ~waits)))
