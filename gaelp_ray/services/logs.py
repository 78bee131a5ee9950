"""Use cases of logs."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.errors import NotFound
from gaelp_ray.services import jobs as job_service
from gaelp_ray.store import attempts as attempt_store
from gaelp_ray.store import logs as log_store

CHUNK = 256 * 1024


@dataclass(frozen=True)
class LogPart:
    """A piece of an attempt's log."""

    attempt_id: int | None
    content: bytes
    next_byte: int
    #: Nothing more will come: the attempt has ended and the piece reaches its end.
    complete: bool


def attempt_of(connection: Connection, job_id: int, number: int | None, *, by: Principal) -> int | None:
    """The id of attempt ``number``, by default the newest; None before the first."""
    job_service.get(connection, job_id, by=by)
    tries = attempt_store.of_job(connection, job_id)
    if number is None:
        return tries[-1].id if tries else None
    for attempt in tries:
        if attempt.number == number:
            return attempt.id
    raise NotFound(f"Job {job_id} has no attempt {number}; it has {len(tries)}.")


def tail(connection: Connection, attempt_id: int, *, lines: int) -> LogPart:
    """The last ``lines`` lines so far."""
    # Asked before reading, so that "complete" is never said of a log that grew in between.
    ended = _ended(connection, attempt_id)
    size = log_store.size(connection, attempt_id)
    position, content = max(0, size - CHUNK), b""
    while position < size:
        piece, position = log_store.read(connection, attempt_id, from_byte=position, limit=size - position)
        if not piece:
            break
        content += piece
    kept = b"".join(content.splitlines(keepends=True)[-lines:]) if lines else b""
    return LogPart(attempt_id, kept, next_byte=position, complete=ended)


def read_on(connection: Connection, attempt_id: int, *, from_byte: int) -> LogPart:
    """What came after ``from_byte``."""
    ended = _ended(connection, attempt_id)
    content, position = log_store.read(connection, attempt_id, from_byte=from_byte, limit=CHUNK)
    return LogPart(attempt_id, content, next_byte=position, complete=ended and not content)


def _ended(connection: Connection, attempt_id: int) -> bool:
    attempt = attempt_store.get(connection, attempt_id)
    return attempt is None or attempt.ended_at is not None
