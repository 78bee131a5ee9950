"""The supervisor's side of a job's money: what its process asks for is passed on, and answered in JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from gaelp_ray.domain.errors import BudgetExceeded, Conflict, Forbidden, GaelpError, Halted, InvalidInput
from gaelp_ray.domain.ledger import Settle
from gaelp_ray.training import refusals
from gaelp_ray.training.budget import Lease
from gaelp_ray.training.link import Link
from gaelp_ray.training.orders import Proposal
from gaelp_ray.training.platforms.desk import Desk

#: Refusals for want of money in a row that a job may be deaf to; at the next it is stopped.
PATIENCE = 3


class Till:
    """Answers what a job asks about money.

    A job that goes on asking after its budget has refused it, and one that a kill switch stops, is told to
    ``stop`` with the reason, and ended if it does not.
    """

    def __init__(
        self,
        link: Link,
        *,
        rank: int,
        desk: Desk | None,
        stop: Callable[[str], None],
        is_stopping: Callable[[], bool],
    ) -> None:
        self._link, self._rank, self._desk = link, rank, desk
        self._stop, self._is_stopping = stop, is_stopping
        self._refusals = 0
        #: It was refused money, or halted: it may end for want of it.
        self.has_refused = False
        #: Leases that the process holds, and so may have spent in full.
        self._leases: dict[str, Lease] = {}
        self._answers: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "spend": self._spend,
            "lend": self._lend,
            "place": self._place,
            "deliveries": self._deliveries,
            "stop_order": self._stop_order,
        }

    @property
    def questions(self) -> frozenset[str]:
        """Kinds of messages about money."""
        return frozenset(self._answers)

    def answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """What to tell the process; never raises for what it asked."""
        try:
            if self._rank != 0:
                raise Forbidden("Only rank 0 of a job may spend.")
            found = self._answers[message["kind"]](message)
        except GaelpError as error:
            self._heed(error)
            return {"kind": "answer", "refusal": refusals.write(error)}
        except Exception as error:
            # Whatever an adapter raised: a process that gets no answer would wait for ever.
            return {"kind": "answer", "error": f"{type(error).__name__}: {error}"[:2000]}
        return {"kind": "answer", **found}

    def close(self) -> None:
        """The process is gone: what it may have spent of its leases counts as spent."""
        for key, lease in self._leases.items():
            lost = Settle(key=f"{key} lost", hold_key=key, spent_micros=lease.amount_micros)
            self._link.lend([lost])
        self._leases.clear()

    def _spend(self, message: Mapping[str, Any]) -> dict[str, Any]:
        self._link.spend(message["amount_micros"], message["key"])
        self._refusals = 0
        return {}

    def _lend(self, message: Mapping[str, Any]) -> dict[str, Any]:
        asked = [_read(each) for each in message["asked"]]
        refused = self._link.lend(asked)
        for each, refusal in zip(asked, refused, strict=True):
            if refusal is not None:
                self._heed(refusal)
            elif isinstance(each, Settle):
                self._leases.pop(each.hold_key, None)
            else:
                self._leases[each.key] = each
                self._refusals = 0
        return {"refusals": [None if each is None else refusals.write(each) for each in refused]}

    def _place(self, message: Mapping[str, Any]) -> dict[str, Any]:
        if self._is_stopping():
            raise Conflict("The job was told to stop; it places no new orders.")
        given = message["proposal"]
        proposal = Proposal(**given | {"categories": tuple(given["categories"])})
        placed = self._at_desk().place(proposal, message["profit_micros"])
        self._refusals = 0
        return {"placed": asdict(placed)}

    def _deliveries(self, _message: Mapping[str, Any]) -> dict[str, Any]:
        return {"deliveries": [asdict(each) for each in self._at_desk().deliveries()]}

    def _stop_order(self, message: Mapping[str, Any]) -> dict[str, Any]:
        self._at_desk().stop(message["key"])
        return {}

    def _at_desk(self) -> Desk:
        if self._desk is None:
            raise Conflict(
                "This job spends simulated money and places no orders; submit it with `money: real`, or use "
                "`ctx.budget`."
            )
        return self._desk

    def _heed(self, error: GaelpError) -> None:
        self.has_refused = self.has_refused or isinstance(error, BudgetExceeded | Halted)
        if isinstance(error, BudgetExceeded):
            self._refusals += 1
        if isinstance(error, Halted) or self._refusals > PATIENCE:
            self._stop(error.message)


def _read(asked: Mapping[str, Any]) -> Lease | Settle:
    if "hold_key" in asked:
        return Settle(**asked)
    try:
        return Lease(**{**asked, "ttl": timedelta(seconds=asked["ttl"])})
    except (OverflowError, TypeError, ValueError):
        raise InvalidInput("`ttl_s` must be a number of seconds.") from None
