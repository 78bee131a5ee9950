"""What the store says of live attempts, jobs and reservations, all at one moment."""

from __future__ import annotations

from sqlalchemy import Connection, text

from gaelp_ray.domain.jobs import LIVE, JobState
from gaelp_ray.domain.reconcile import LiveAttempt, Records

# One statement sees one moment.
_RECORDS = text(
    """
    SELECT 'attempt' AS kind, attempts.job_id, attempts.id AS attempt_id, attempts.launcher, jobs.state,
           NOT EXISTS (
               SELECT FROM outbox
               WHERE outbox.attempt_id = attempts.id AND kind = 'launch' AND delivered_at IS NULL
           ) AS launched
    FROM attempts
    JOIN jobs ON jobs.id = attempts.job_id
    WHERE attempts.ended_at IS NULL
    UNION ALL
    SELECT 'job', id, NULL, NULL, state, NULL
    FROM jobs
    WHERE state = ANY(:live)
        AND NOT EXISTS (SELECT FROM attempts WHERE attempts.job_id = jobs.id AND ended_at IS NULL)
    UNION ALL
    SELECT 'reservation', job_id, NULL, NULL, NULL, NULL
    FROM reservations
    WHERE NOT EXISTS (SELECT FROM jobs WHERE jobs.id = reservations.job_id AND state = 'queued')
    """
)


def records(connection: Connection) -> Records:
    found = connection.execute(_RECORDS, {"live": sorted(map(str, LIVE))}).all()
    return Records(
        attempts=tuple(
            LiveAttempt(row.attempt_id, row.job_id, JobState(row.state), row.launcher, row.launched)
            for row in found
            if row.kind == "attempt"
        ),
        jobs_without_attempt=tuple(row.job_id for row in found if row.kind == "job"),
        orphan_reservations=tuple(row.job_id for row in found if row.kind == "reservation"),
    )
