"""Holds, over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from gaelp_ray.client.http import Http
from gaelp_ray.client.pages import read_items
from gaelp_ray.client.wire import read
from gaelp_ray.domain.holds import HoldMode, HoldScope


@dataclass(frozen=True)
class Hold:
    """Keeps jobs from starting."""

    scope: str
    mode: str
    #: The team's or user's name, the agent's id; None for global.
    name: str | None = None
    reason: str = ""
    by: str = ""
    at: datetime | None = None


class Holds:
    """``client.holds``. ``scope`` is ``global`` (without a name), ``team``, ``user`` or ``agent``.

    Every method may raise ``Unauthenticated``, ``Forbidden``, ``Unavailable`` and ``NotFound``.
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    def list(self) -> tuple[Hold, ...]:
        """Holds in force that you may see, newest first."""
        return read_items(Hold, self._http.get("/holds"))

    def place(
        self,
        scope: HoldScope | str,
        name: str | int | None = None,
        *,
        mode: HoldMode | str = HoldMode.HOLD,
        reason: str = "",
    ) -> Hold:
        """Let nothing of it start; with ``hold_and_drain`` what runs saves and waits again."""
        return read(Hold, self._http.put(_path(scope, name), {"mode": mode, "reason": reason}))

    def lift(self, scope: HoldScope | str, name: str | int | None = None) -> None:
        """Let jobs start again."""
        self._http.delete(_path(scope, name))


def _path(scope: HoldScope | str, name: str | int | None) -> str:
    whom = "" if name is None else f"/{quote(str(name), safe='')}"
    return f"/holds/{scope}{whom}"
