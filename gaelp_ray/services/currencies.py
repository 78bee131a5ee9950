"""The currency that compute is paid in: it stays what its limits are set in."""

from __future__ import annotations

from sqlalchemy import Connection

from gaelp_ray.domain.errors import SetupError
from gaelp_ray.domain.ledger import Money, Scope
from gaelp_ray.store import accounts as account_store
from gaelp_ray.store import currencies as currency_store

#: Whose limits bind compute.
_PAYERS = (Scope.USER, Scope.TEAM, Scope.GLOBAL)
_NAMED = 3


def keep(tx: Connection, currency: str) -> None:
    """Take the service's currency for that of compute; raises ``SetupError`` where limits would bind no more.

    Limits of users, teams and everything bind compute in the currency that they are set in. In another one
    they would silently bind nobody, so they are taken away first, or the currency stays.
    """
    before = currency_store.get(tx)
    if before == currency:
        return
    if before is not None:
        found = account_store.limited(tx, scopes=_PAYERS, currency=before, money=Money.REAL)
        whose = list(dict.fromkeys(f"{account.scope} {account.subject}".rstrip() for account, _ in found))
        if whose:
            more = f" and {len(whose) - _NAMED} more" if len(whose) > _NAMED else ""
            raise SetupError(
                f"GAELP_CURRENCY is {currency}, and compute is limited in {before} (of "
                f"{', '.join(whose[:_NAMED])}{more}), which would bind nobody; set it back to {before}, or "
                f"have an admin take the limits in {before} away first."
            )
    currency_store.put(tx, currency)
