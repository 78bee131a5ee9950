"""Rights beyond those over one's own agents. An admin has them all."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.errors import Forbidden


class Role(StrEnum):
    #: Votes on approvals.
    APPROVER = "approver"
    #: Engages and releases kill switches, writes and attaches policies, runs ramps.
    OPERATOR = "operator"
    #: Reads the audit and its reports.
    AUDITOR = "auditor"


def require(role: Role, held: Collection[Role], by: Principal) -> None:
    """Raise ``Forbidden`` unless the caller has the role."""
    if not by.admin and role not in held:
        raise Forbidden(f"This needs the role {str(role)!r}; an admin can grant it to {by.user!r}.")
