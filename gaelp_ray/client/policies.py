"""Safety policies, over HTTP."""

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
from gaelp_ray.domain.safety.policies import Attach


@dataclass(frozen=True)
class Place:
    """What a policy is attached to."""

    scope: str
    #: The agent's id or the type; empty for global.
    subject: str = ""


@dataclass(frozen=True)
class Policy:
    """One immutable version of a policy."""

    id: int
    name: str
    version: int
    currency: str | None = None
    rules: tuple[Mapping[str, Any], ...] = ()
    attached_to: tuple[Place, ...] = ()


@dataclass(frozen=True)
class Replayed:
    """What an action of the past would have met."""

    at: datetime
    amount_micros: int
    currency: str
    #: ``allow``, ``clip``, ``deny`` or ``halt``.
    verdict: str
    allowed_micros: int | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class DryRun:
    #: How many of each verdict.
    verdicts: Mapping[str, int] = field(default_factory=dict)
    items: tuple[Replayed, ...] = ()


class Policies:
    """``client.policies``. ``scope`` is ``agent``, ``type`` or ``global`` (without a subject).

    Every method may raise ``Unauthenticated``, ``Unavailable`` and ``NotFound``.
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    def list(self, *, name: str | None = None, limit: int = 100, cursor: str | None = None) -> Page[Policy]:
        """One page of all versions of all policies, in the order in which they were written."""
        return read_page(Policy, self._http.get("/policies", name=name, limit=limit, cursor=cursor))

    def iterate(self, *, name: str | None = None) -> Iterator[Policy]:
        return each(lambda cursor: self.list(name=name, limit=WHOLE_PAGE, cursor=cursor))

    def get(self, name: str, version: int | None = None) -> Policy:
        """The newest version unless one is named."""
        return read(Policy, self._http.get(_path(name), version=version))

    def write(self, name: str, document: Mapping[str, Any]) -> Policy:
        """Write the next version; raises ``InvalidInput``, and ``Forbidden`` for who is no operator."""
        return read(Policy, self._http.post(_path(name), document))

    def attach(
        self,
        name: str,
        scope: Attach | str,
        subject: str | int | None = None,
        *,
        version: int | None = None,
    ) -> Policy:
        """Attach a version, the newest unless named, in place of any other.

        Raises ``Forbidden``, and ``NotEligible`` where this needs an approval that is not there.
        """
        body = {"scope": scope, "subject": _subject(subject), "version": version}
        return read(Policy, self._http.put(f"{_path(name)}/attachments", body))

    def detach(self, name: str, scope: Attach | str, subject: str | int | None = None) -> None:
        """Take a policy away; raises as ``attach`` does."""
        self._http.delete(f"{_path(name)}/attachments", scope=scope, subject=_subject(subject))

    def binding(self, agent_id: int) -> tuple[Policy, ...]:
        """All that an agent must keep."""
        path = f"/agents/{agent_id}/policies"
        return tuple(each(lambda cursor: read_page(Policy, self._http.get(path, cursor=cursor))))

    def dry_run(
        self,
        agent_id: int,
        policy: Mapping[str, Any] | str,
        *,
        version: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        timezone: str | None = None,
    ) -> DryRun:
        """What a policy, a document or the name of a stored one, would have said to an agent's actions.

        By default to those of the last 30 days. Stores nothing.
        """
        named = {"name": policy} if isinstance(policy, str) else {"policy": policy}
        span = {"since": since, "until": until, "timezone": timezone}
        body = {"agent_id": agent_id, "version": version, **named, **span}
        return read(DryRun, self._http.post("/policies:dry-run", body))


def _path(name: str) -> str:
    return f"/policies/{quote(name, safe='')}"


def _subject(subject: str | int | None) -> str:
    return "" if subject is None else str(subject)
