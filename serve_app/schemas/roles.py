"""Roles on the wire."""

from __future__ import annotations

from datetime import datetime

from gaelp_ray.domain.roles import Role
from serve_app.schemas.common import Out


class GrantOut(Out):
    user: str
    role: Role
    by: str
    at: datetime


class GrantList(Out):
    items: list[GrantOut]
