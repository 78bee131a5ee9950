"""From the ends of a period as somebody named them, or left out, to the period that they meant."""

from __future__ import annotations

from datetime import datetime, timedelta

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.instants import LEEWAY
from gaelp_ray.domain.ledger import moment


def meant(
    since: datetime | None, until: datetime | None, *, span: timedelta, now: datetime
) -> tuple[datetime, datetime]:
    """From when and until when; what is left out ends now and begins so long before.

    Nothing has happened after now, so a period that ends later ends now. Raises ``InvalidInput`` for one that
    begins later, or that ends before it begins.
    """
    end = now if until is None else min(moment(until, field="until"), now)
    if since is None:
        return end - span, end
    begin = moment(since, field="since")
    if until is not None:
        check(begin, until)
    begun(begin, now)
    return begin, max(begin, end)


def begun(since: datetime | None, now: datetime) -> None:
    """Raise ``InvalidInput`` for a period that begins in the future."""
    if since is not None and since > now + LEEWAY:
        raise InvalidInput(
            f"`since` lies in the future, {since.isoformat()}; nothing has happened then.", field="since"
        )


def check(since: datetime, until: datetime) -> None:
    """Raise ``InvalidInput`` unless a period begins before it ends."""
    if not since < until:
        raise InvalidInput(
            f"`since` must lie before `until`; got {since.isoformat()} and {until.isoformat()}."
        )
