"""Use cases of checkpoints: which folders in storage nobody refers to."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from gaelp_ray.store import checkpoints as store
from gaelp_ray.store.checkpoints import EndedAttempt


@dataclass(frozen=True)
class Batch:
    """Some attempts that save nothing any more, and the addresses of what they saved and is kept."""

    attempts: tuple[EndedAttempt, ...]
    kept: Set[str]


def ended(connection: Connection, *, after: tuple[datetime, int], before: datetime, limit: int) -> Batch:
    """The next attempts by the time of their end.

    An attempt that has ended records no checkpoint any more, so what lies in its folder and is not kept is
    not being saved and will never be asked for. Read together: what is kept is as true as the ends are.
    """
    attempts = store.ended(connection, after=after, before=before, limit=limit)
    return Batch(tuple(attempts), store.kept_of(connection, [each.id for each in attempts]))
