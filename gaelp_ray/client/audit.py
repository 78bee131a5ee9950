"""The audit and its reports, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gaelp_ray.client.http import API, Http
from gaelp_ray.client.models import Page
from gaelp_ray.client.pages import WHOLE_PAGE, each, read_page
from gaelp_ray.client.wire import read


@dataclass(frozen=True)
class AuditRecord:
    """One change: who, what, when, before and after."""

    seq: int
    at: datetime
    actor: str
    #: Noun and verb, such as ``limit.set``.
    action: str
    subject: str
    before: Any = None
    after: Any = None
    request_id: str | None = None
    hash: str = ""


@dataclass(frozen=True)
class AuditBreak:
    seq: int
    #: ``edited``, ``missing``, ``misplaced`` or ``head``.
    kind: str
    message: str = ""


@dataclass(frozen=True)
class Proof:
    """What a verification of the whole audit found."""

    holds: bool
    seq: int
    hash: str
    breaks: tuple[AuditBreak, ...] = ()

    @property
    def anchor(self) -> str:
        """The end, to be kept elsewhere."""
        return f"{self.seq}:{self.hash}"


class Audit:
    """``client.audit``, for auditors.

    Every method may raise ``Unauthenticated``, ``Forbidden`` and ``Unavailable``.
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    def list(
        self,
        *,
        subject: str | None = None,
        actor: str | None = None,
        action: str | None = None,
        after: int | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[AuditRecord]:
        """One page of changes, in the order in which they were made; of those numbered above ``after``."""
        params = {"subject": subject, "actor": actor, "action": action, "after": after}
        return read_page(AuditRecord, self._http.get("/audit", **params, limit=limit, cursor=cursor))

    def iterate(
        self, *, subject: str | None = None, actor: str | None = None, action: str | None = None
    ) -> Iterator[AuditRecord]:
        return each(
            lambda cursor: self.list(
                subject=subject, actor=actor, action=action, limit=WHOLE_PAGE, cursor=cursor
            )
        )

    def verify(self, *, anchor: str | None = None) -> Proof:
        """Find every record that was edited, removed or moved; ``anchor``: an end that was kept elsewhere."""
        return read(Proof, self._http.get("/audit/verify", anchor=anchor))

    def compliance(self, *, since: datetime, until: datetime) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """What happened in a period, by section."""
        found: Mapping[str, Sequence[Mapping[str, Any]]] = self._http.get(
            "/compliance", since=since, until=until
        )
        return found

    def compliance_csv(self, *, since: datetime, until: datetime) -> str:
        """The same as CSV."""
        period = {"since": since, "until": until, "format": "csv"}
        return self._http.request("GET", f"{API}/compliance", params=period, repeatable=True).text
