"""Who is asking, and what they may touch."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from gaelp_ray.domain.errors import Forbidden, NotFound
from gaelp_ray.domain.names import SYSTEM_USER, canonical


@dataclass(frozen=True)
class Principal:
    """The bearer of a verified token."""

    #: The user's name, the ``sub`` claim.
    user: str
    admin: bool = False
    #: Of the request that is being answered, for the audit. Two requests of one user are equal all the same.
    request_id: str | None = field(default=None, compare=False)
    #: Until when the token holds; None for who has none.
    until: datetime | None = field(default=None, compare=False)

    def may_see(self, owner: str) -> bool:
        return self.admin or self.user == owner

    def require_owner(self, owner: str, what: str) -> None:
        """Raise ``NotFound`` unless the thing is the caller's: a stranger learns nothing of it."""
        if not self.may_see(owner):
            raise NotFound(f"There is no {what}, or you may not see it.")

    def require_admin(self) -> None:
        if not self.admin:
            raise Forbidden("This needs an admin token; make one with `gaelp token create NAME --admin`.")


def person(name: str) -> str:
    """Equal for names of one person, however they are written."""
    return canonical(name)


#: The service acting by itself, as the actor of an event.
SYSTEM = Principal(user=SYSTEM_USER, admin=True)
