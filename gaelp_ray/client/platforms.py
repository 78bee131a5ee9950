"""Reports of ad platforms, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from gaelp_ray.client.http import Http
from gaelp_ray.client.pages import read_items
from gaelp_ray.client.wire import read, to_json


@dataclass(frozen=True)
class Received:
    received: int
    #: Those that had not been received before.
    new: int


@dataclass(frozen=True)
class Difference:
    """An order whose reports and books differ."""

    kind: str
    order_key: str
    campaign: str = ""
    reported_micros: int = 0
    booked_micros: int = 0
    difference_micros: int = 0


@dataclass(frozen=True)
class Booked:
    """What the ledger answered to one repair; ``code`` and ``detail`` where it was refused."""

    operation: str | None = None
    amount_micros: int | None = None
    code: str | None = None
    detail: str | None = None


class Platforms:
    """``client.platforms``. For operators; differences are shown to auditors too.

    Every method may raise ``Unauthenticated``, ``Forbidden`` and ``Unavailable``.
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    def report(self, platform: str, reports: Sequence[Mapping[str, Any]]) -> Received:
        """Store at most 1000 reports, each with the fields ``order_key``, ``number``, ``campaign``,
        ``currency``, ``cost_micros``, ``final`` and ``reported_at``.
        """
        body = {"reports": [to_json(report) for report in reports]}
        return read(Received, self._http.post(f"{_path(platform)}/reports", body))

    def differences(
        self, platform: str, *, since: datetime, until: datetime, placed: Sequence[str] = ()
    ) -> tuple[Difference, ...]:
        """Of orders of which reports came in the period, and of those that are ``placed`` there."""
        span = {"since": since, "until": until, "placed": list(placed) or None}
        return read_items(Difference, self._http.get(f"{_path(platform)}/differences", **span))

    def reconcile(self, platform: str, *, since: datetime, until: datetime) -> tuple[Booked, ...]:
        """Make the ledger say what the platform reports; again it changes nothing."""
        body = {"since": since, "until": until}
        return read_items(Booked, self._http.post(f"{_path(platform)}/reconcile", body))


def _path(platform: str) -> str:
    return f"/platforms/{quote(platform, safe='')}"
