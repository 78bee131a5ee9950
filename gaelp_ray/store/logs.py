"""The captured output of attempts, in chunks. Of a log that is too long the middle is not kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from gaelp_ray.domain.logs import left_out
from gaelp_ray.store.tables import attempts, log_chunks


def append(tx: Connection, attempt_id: int, start_byte: int, content: bytes, *, now: datetime) -> None:
    """Store a chunk; the same chunk sent twice is one."""
    tx.execute(
        insert(log_chunks)
        .values(attempt_id=attempt_id, start_byte=start_byte, content=content, at=now)
        .on_conflict_do_nothing()
    )


def shorten(tx: Connection, attempt_id: int, *, end_byte: int, limit_bytes: int) -> None:
    """Forget what lies between the first and the last half of ``limit_bytes`` of a log up to ``end_byte``."""
    head = limit_bytes // 2
    end = log_chunks.c.start_byte + func.length(log_chunks.c.content)
    tx.execute(
        delete(log_chunks).where(
            log_chunks.c.attempt_id == attempt_id,
            log_chunks.c.start_byte >= head,
            end <= end_byte - (limit_bytes - head),
        )
    )


@dataclass(frozen=True)
class LogEnd:
    """How far the log of an attempt reaches, and whether it may still grow."""

    bytes: int
    ended: bool


def ends(connection: Connection, attempt_ids: Sequence[int]) -> dict[int, LogEnd]:
    """Of several attempts at once; an attempt that is not there is left out."""
    reaches = (
        select(log_chunks.c.start_byte + func.length(log_chunks.c.content))
        .where(log_chunks.c.attempt_id == attempts.c.id)
        .order_by(log_chunks.c.start_byte.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = select(attempts.c.id, attempts.c.ended_at.is_not(None), func.coalesce(reaches, 0)).where(
        attempts.c.id.in_(attempt_ids)
    )
    return {found: LogEnd(size, ended) for found, ended, size in connection.execute(query)}


def size(connection: Connection, attempt_id: int) -> int:
    """Bytes of log so far."""
    query = (
        select(log_chunks.c.start_byte + func.length(log_chunks.c.content))
        .where(log_chunks.c.attempt_id == attempt_id)
        .order_by(log_chunks.c.start_byte.desc())
        .limit(1)
    )
    return connection.execute(query).scalar() or 0


def read(connection: Connection, attempt_id: int, *, from_byte: int, limit: int) -> tuple[bytes, int]:
    """At most about ``limit`` bytes from ``from_byte`` on, and the byte after them.

    A line stands for what was not kept in between.
    """
    end = log_chunks.c.start_byte + func.length(log_chunks.c.content)
    query = (
        select(log_chunks.c.start_byte, log_chunks.c.content)
        .where(log_chunks.c.attempt_id == attempt_id, end > from_byte)
        .order_by(log_chunks.c.start_byte)
        .limit(1000)
    )
    parts: list[bytes] = []
    total, position = 0, from_byte
    for start, content in connection.execute(query):
        if start > position:
            parts.append(left_out(start - position))
            position = start
        part = bytes(content)[position - start :][: limit - total]
        parts.append(part)
        position += len(part)
        total += len(part)
        if total >= limit:
            break
    return b"".join(parts), position
