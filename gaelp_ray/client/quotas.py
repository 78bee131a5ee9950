"""Quotas, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

from gaelp_ray.client.http import Http
from gaelp_ray.client.models import Page
from gaelp_ray.client.pages import WHOLE_PAGE, each, read_page
from gaelp_ray.client.wire import read
from gaelp_ray.domain.quotas import QuotaKind

_ADDRESS = {QuotaKind.USER: "users", QuotaKind.TEAM: "teams"}


@dataclass(frozen=True)
class Quota:
    """What a user or team may hold at once. Amounts are Kubernetes quantities or ``unlimited``."""

    kind: str
    name: str
    team: str | None = None
    limit: Mapping[str, str] = field(default_factory=dict)
    #: How much over ``limit`` a user may borrow from teammates.
    borrowing: Mapping[str, str] = field(default_factory=dict)
    #: How much of ``limit`` teammates may borrow while he leaves it unused.
    lending: Mapping[str, str] = field(default_factory=dict)
    weight: float = 1.0
    #: Jobs that may wait: a number or ``unlimited``.
    queued: int | str = "unlimited"
    #: None: nobody set it, a default applies.
    updated_at: datetime | None = None
    updated_by: str | None = None


@dataclass(frozen=True)
class Usage:
    """What is held under a quota now."""

    kind: str
    name: str
    limit: Mapping[str, str] = field(default_factory=dict)
    held: Mapping[str, str] = field(default_factory=dict)
    #: Jobs that wait.
    waiting: int = 0
    #: Of a team: what each member holds.
    members: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class UsagePoint:
    at: datetime
    #: Held on average from then to the next point.
    average: float


@dataclass(frozen=True)
class UsageHistory:
    """What was held over time, in ``unit``."""

    resource: str
    unit: str
    items: tuple[UsagePoint, ...] = ()


class Quotas:
    """``client.quotas``. ``kind`` is ``user`` or ``team``; the user ``*`` is every one without his own.

    Every method may raise ``Unauthenticated``, ``Unavailable`` and ``NotFound``.
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    def list(
        self, *, kind: QuotaKind | str | None = None, limit: int = 100, cursor: str | None = None
    ) -> Page[Quota]:
        """One page of the quotas that were set and that you may see, by kind and name."""
        return read_page(Quota, self._http.get("/quotas", kind=kind, limit=limit, cursor=cursor))

    def iterate(self, *, kind: QuotaKind | str | None = None) -> Iterator[Quota]:
        return each(lambda cursor: self.list(kind=kind, limit=WHOLE_PAGE, cursor=cursor))

    def get(self, kind: QuotaKind | str, name: str) -> Quota:
        """The quota in force, be it the default one."""
        return read(Quota, self._http.get(_path(kind, name)))

    def set(
        self,
        kind: QuotaKind | str,
        name: str,
        *,
        limit: Mapping[str, Any] | None = None,
        team: str | None = None,
        borrowing: Mapping[str, Any] | None = None,
        lending: Mapping[str, Any] | None = None,
        weight: float | None = None,
        queued: int | str | None = None,
    ) -> Quota:
        """Set a quota as a whole; what is left out is not limited. Needs an admin's token.

        Amounts are Kubernetes quantities: ``limit={"gpu": 4, "memory": "256Gi", "jobs": 20}``. Raises
        ``InvalidInput`` and ``Forbidden``.
        """
        body = {
            "limit": limit,
            "team": team,
            "borrowing": borrowing,
            "lending": lending,
            "weight": weight,
            "queued": queued,
        }
        return read(Quota, self._http.put(_path(kind, name), body))

    def unset(self, kind: QuotaKind | str, name: str) -> None:
        """Take a quota away; the default one applies then. Needs an admin's token."""
        self._http.delete(_path(kind, name))

    def usage(self, kind: QuotaKind | str, name: str) -> Usage:
        """What is held now, and how many jobs wait."""
        return read(Usage, self._http.get(f"{_path(kind, name)}/usage"))

    def history(
        self,
        kind: QuotaKind | str,
        name: str,
        resource: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        buckets: int = 24,
    ) -> UsageHistory:
        """What was held on average in each of ``buckets`` equal spans, by default of the last day."""
        span = {"since": since, "until": until, "buckets": buckets}
        return read(
            UsageHistory, self._http.get(f"{_path(kind, name)}/usage/history", resource=resource, **span)
        )


def _path(kind: QuotaKind | str, name: str) -> str:
    return f"/quotas/{_ADDRESS[QuotaKind(kind)]}/{quote(name, safe='')}"
