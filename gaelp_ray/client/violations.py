"""Broken rules of policies, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gaelp_ray.client.http import Http
from gaelp_ray.client.models import Page
from gaelp_ray.client.pages import WHOLE_PAGE, each, read_items, read_page
from gaelp_ray.domain.safety.verdicts import Severity


@dataclass(frozen=True)
class Violation:
    """A rule that an action broke."""

    id: int
    agent_id: int
    #: ``clip``, ``deny`` or ``halt``.
    severity: str
    code: str
    message: str = ""
    #: None: the action itself was malformed.
    policy_id: int | None = None
    amount_micros: Any = None
    currency: str = ""
    campaign: str = ""
    at: datetime | None = None


@dataclass(frozen=True)
class ViolationCount:
    severity: str
    code: str
    count: int


class Violations:
    """``client.violations``. Those of all agents are for auditors.

    Every method may raise ``Unauthenticated``, ``Forbidden``, ``Unavailable`` and ``NotFound``.
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    def list(
        self,
        agent_id: int | None = None,
        *,
        severity: Severity | str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Violation]:
        """One page, in the order in which they were recorded."""
        path = "/violations" if agent_id is None else f"/agents/{agent_id}/violations"
        params = {"severity": severity, "since": since, "until": until, "limit": limit, "cursor": cursor}
        return read_page(Violation, self._http.get(path, **params))

    def iterate(
        self,
        agent_id: int | None = None,
        *,
        severity: Severity | str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[Violation]:
        return each(
            lambda cursor: self.list(
                agent_id, severity=severity, since=since, until=until, limit=WHOLE_PAGE, cursor=cursor
            )
        )

    def counts(self, *, since: datetime | None = None) -> tuple[ViolationCount, ...]:
        """How many of each severity and code, by default in the last day."""
        return read_items(ViolationCount, self._http.get("/violations/counts", since=since))
