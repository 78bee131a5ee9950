"""Kill switches, over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gaelp_ray.client.http import Http
from gaelp_ray.client.pages import read_items
from gaelp_ray.client.wire import read
from gaelp_ray.domain.switches import SwitchScope


@dataclass(frozen=True)
class Switch:
    """A kill switch as it was last moved."""

    scope: str
    engaged: bool
    #: The agent's id, the user's or campaign's name; empty for global.
    subject: str = ""
    reason: str = ""
    by: str = ""
    at: datetime | None = None


class Switches:
    """``client.switches``. ``scope`` is ``agent``, ``user``, ``campaign`` or ``global`` (without a subject).

    Every method may raise ``Unauthenticated``, ``Forbidden``, ``Unavailable`` and ``NotFound``.
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    def list(self) -> tuple[Switch, ...]:
        """Engaged ones that you may see."""
        return read_items(Switch, self._http.get("/kill-switches"))

    def engage(self, scope: SwitchScope | str, subject: str | int | None = None, *, reason: str) -> Switch:
        """Stop it: when this returns, no hold that is asked for is granted any more.

        Repeated after a broken connection, for what is engaged stays so.
        """
        body = _body(scope, subject, reason)
        return read(Switch, self._http.post("/kill-switches", body, repeatable=True))

    def release(self, scope: SwitchScope | str, subject: str | int | None = None, *, reason: str) -> Switch:
        """Let it spend again."""
        return read(Switch, self._http.post("/kill-switches/release", _body(scope, subject, reason)))


def _body(scope: SwitchScope | str, subject: str | int | None, reason: str) -> dict[str, str]:
    return {"scope": scope, "subject": "" if subject is None else str(subject), "reason": reason}
