"""What a job's compute costs, and how its running time is paid for: slice by slice, before it runs.

Admission holds money for the first slice, the launcher for each next one, and the end of an attempt books
what ran. An attempt for which nothing more can be held is told to stop, and what it still takes until then
is held already: ``notice`` is part of every slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from gaelp_ray.domain.ledger import AtExpiry, Hold
from gaelp_ray.domain.prices import PriceTable

_HOUR = timedelta(hours=1)
_MICROSECOND = timedelta(microseconds=1)
#: Ever shorter slices that are asked for when there is no money for a whole one.
SHARES = (1, 2, 4, 8)


@dataclass(frozen=True)
class Terms:
    """How running time is paid for."""

    prices: PriceTable
    #: Running time that money is held for at once ...
    slice: timedelta = timedelta(minutes=10)
    #: ... and on top, what an attempt may take from the moment at which it is told to stop.
    notice: timedelta = timedelta(minutes=1)

    @property
    def lead(self) -> timedelta:
        """How long before its notice the next slice is asked for, so that one failure costs nothing."""
        return min(self.slice / 4, timedelta(minutes=1))

    def length(self, share: int = 1) -> timedelta:
        """How long a slice lasts of which only a share is taken; the notice is never cut."""
        return self.slice / share + self.notice

    def slice_micros(self, hour_micros: int, share: int = 1) -> int:
        """What is held at once for running time of this price."""
        return cost(hour_micros, self.length(share))


def cost(hour_micros: int, length: timedelta) -> int:
    """What running time costs, rounded up to a whole micro; a clock that went back makes no refund."""
    return -(-hour_micros * max(0, length // _MICROSECOND) // (_HOUR // _MICROSECOND))


@dataclass(frozen=True)
class Run:
    """An attempt as far as it costs something."""

    token: UUID
    job_id: int
    #: Of all its workers; 0 for what is free.
    hour_micros: int
    #: Since when it costs; None before it runs.
    since: datetime | None = None
    #: Slices that were held so far, and what was booked of them.
    slices: int = 0
    booked_micros: int = 0

    @property
    def hold_key(self) -> str:
        """Of the slice that is held now."""
        return self._key(self.slices)

    @property
    def next_key(self) -> str:
        return self._key(self.slices + 1)

    @property
    def end_key(self) -> str:
        return f"attempt {self.token} end"

    def due_micros(self, until: datetime) -> int:
        """What ran and was not booked."""
        ran = until - self.since if self.since is not None else timedelta(0)
        return max(0, cost(self.hour_micros, ran) - self.booked_micros)

    def next_hold(self, account_ids: tuple[int, ...], currency: str, terms: Terms, share: int = 1) -> Hold:
        """Money for the next slice, or for a share of it. Past its time it counts as spent in full."""
        return Hold(
            key=self.next_key,
            account_ids=account_ids,
            currency=currency,
            amount_micros=terms.slice_micros(self.hour_micros, share),
            ttl=terms.length(share),
            at_expiry=AtExpiry.SPEND,
            job_id=self.job_id,
        )

    def _key(self, number: int) -> str:
        return f"attempt {self.token} slice {number}"
