"""Roles, over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from gaelp_ray.client.http import API, Http
from gaelp_ray.client.pages import read_items
from gaelp_ray.domain.roles import Role


@dataclass(frozen=True)
class Grant:
    user: str
    role: str
    by: str = ""
    at: datetime | None = None


class Roles:
    """``client.roles``. ``role`` is ``approver``, ``operator`` or ``auditor``; an admin has them all.

    Every method may raise ``Unauthenticated``, ``Forbidden`` and ``Unavailable``.
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    def list(self) -> tuple[Grant, ...]:
        """Your own, or for an admin everybody's."""
        return read_items(Grant, self._http.get("/roles"))

    def grant(self, user: str, role: Role | str) -> None:
        """Needs an admin's token, and so does ``revoke``."""
        self._http.request("PUT", f"{API}{_path(user, role)}", repeatable=True)

    def revoke(self, user: str, role: Role | str) -> None:
        self._http.delete(_path(user, role))


def _path(user: str, role: Role | str) -> str:
    return f"/roles/{quote(user, safe='')}/{role}"
