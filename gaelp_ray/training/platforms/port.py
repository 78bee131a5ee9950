"""The port to ad platforms."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from gaelp_ray.domain.platforms import DeliveryReport, Order


class AdPlatform(Protocol):
    """A platform that spends real money.

    No call is known to have failed: an answer may be lost after the platform did what it was told. So every
    call may be repeated, and orders have keys. Any call raises ``Unavailable`` when the platform does not
    answer.
    """

    @property
    def name(self) -> str:
        """Tells its reports from those of others."""

    def place(self, order: Order, *, now: datetime) -> None:
        """Begin to deliver. Placed again it is the same order; another under its key is a ``Conflict``."""

    def stop(self, order_key: str, *, now: datetime) -> None:
        """Deliver no more. Platforms do not stop on a dime: some delivery may follow."""

    def reports(self, *, now: datetime) -> list[DeliveryReport]:
        """What the platform has to say now. Some of it may have been said before, and in any order."""
