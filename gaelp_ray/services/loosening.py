"""The one gate for whatever lets more real money be spent."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.errors import Forbidden
from gaelp_ray.domain.loosening import Loosening
from gaelp_ray.services import approvals


def permit(tx: Connection, change: Loosening | None, *, by: Principal, now: datetime) -> None:
    """Let a change pass that is about to be made in this transaction; None loosens nothing.

    An admin decides alone, and is audited. Anybody else uses up an approval of exactly this change. Raises
    ``NotEligible`` without one, ``Forbidden`` for what only an admin does.
    """
    if change is None or by.admin:
        return
    if change.admins_only is not None:
        raise Forbidden(change.admins_only)
    approval = approvals.find(tx, change.need, by=by, now=now)
    approvals.use(tx, approval, used_for=change.done, by=by, now=now)
