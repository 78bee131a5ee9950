"""Approvals, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from gaelp_ray.client.http import Http
from gaelp_ray.client.models import Page
from gaelp_ray.client.pages import WHOLE_PAGE, each, read_page
from gaelp_ray.client.wire import read
from gaelp_ray.domain.approvals import Purpose
from gaelp_ray.domain.windows import Period


@dataclass(frozen=True)
class Vote:
    voter: str
    approves: bool
    reason: str = ""
    at: datetime | None = None


@dataclass(frozen=True)
class Approval:
    """Other people's agreement to something, once, within a time."""

    id: int
    purpose: str
    subject: str
    #: ``requested``, ``approved``, ``rejected``, ``withdrawn``, ``expired`` or ``used``.
    state: str
    reason: str = ""
    #: The most that it is good for.
    amount_micros: int | None = None
    currency: str | None = None
    #: Of a limit: which one. Of a policy: what is done with which version where.
    period: str | None = None
    change: str | None = None
    needed: int = 2
    requested_by: str = ""
    requested_at: datetime | None = None
    expires_at: datetime | None = None
    decided_at: datetime | None = None
    used_for: str | None = None
    votes: tuple[Vote, ...] = ()


class Approvals:
    """``client.approvals``.

    Every method may raise ``Unauthenticated``, ``Forbidden``, ``Unavailable`` and ``NotFound``; a change of
    one that is no longer open is a ``Conflict``.
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    def list(
        self,
        *,
        purpose: Purpose | str | None = None,
        subject: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Approval]:
        """One page of those that you asked for, or if you have a role of all, oldest first."""
        params = {"purpose": purpose, "subject": subject, "limit": limit, "cursor": cursor}
        return read_page(Approval, self._http.get("/approvals", **params))

    def iterate(
        self, *, purpose: Purpose | str | None = None, subject: str | None = None
    ) -> Iterator[Approval]:
        return each(
            lambda cursor: self.list(purpose=purpose, subject=subject, limit=WHOLE_PAGE, cursor=cursor)
        )

    def get(self, approval_id: int) -> Approval:
        return read(Approval, self._http.get(f"/approvals/{approval_id}"))

    def request(
        self,
        purpose: Purpose | str,
        subject: str,
        *,
        reason: str,
        amount_micros: int | None = None,
        currency: str | None = None,
        period: Period | str | None = None,
        change: str | None = None,
        needed: int | None = None,
        ttl_seconds: float | None = None,
    ) -> Approval:
        """Ask for agreement, by default of two people within a day; raises ``InvalidInput``.

        ``period``: which limit of an account. ``change``: what is done with a policy, such as
        ``attach 2 to global`` or ``detach from agent 7``. A refusal names what to ask for in its details.
        """
        body = {
            "purpose": purpose,
            "subject": subject,
            "reason": reason,
            "amount_micros": amount_micros,
            "currency": currency,
            "period": period,
            "change": change,
            "needed": needed,
            "ttl_seconds": ttl_seconds,
        }
        return read(Approval, self._http.post("/approvals", body))

    def approve(self, approval_id: int, *, reason: str) -> Approval:
        return self._post(approval_id, "approve", reason=reason)

    def reject(self, approval_id: int, *, reason: str) -> Approval:
        """One rejection is enough."""
        return self._post(approval_id, "reject", reason=reason)

    def withdraw(self, approval_id: int) -> Approval:
        """Take a request of yours back."""
        return self._post(approval_id, "withdraw")

    def _post(self, approval_id: int, what: str, **body: str) -> Approval:
        return read(Approval, self._http.post(f"/approvals/{approval_id}/{what}", body))
