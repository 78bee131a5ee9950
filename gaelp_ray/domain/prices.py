"""What compute costs: a price table, and the cost of resources held for a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.money import MAX_MICROS, Micros
from gaelp_ray.domain.requests import ACCELERATOR_LABEL, Request, Spot, meets
from gaelp_ray.domain.resources import Resources

#: In the price table: a GPU of any other kind.
ANY_GPU: Final = "*"
_HOUR = timedelta(hours=1)
_HOUR_US = 3_600_000_000
_GIB = 1024**3
_PPM = 1_000_000


@dataclass(frozen=True)
class PriceTable:
    """Prices in micros per hour. Whole numbers throughout, so a cost is exact."""

    currency: str
    cpu_hour_micros: int
    gib_hour_micros: int
    #: By the label of the accelerator, such as "A100".
    gpu_hour_micros: Mapping[str, int] = field(default_factory=dict)
    #: What spot capacity is cheaper, in millionths: 700_000 is 70 % off.
    spot_discount_ppm: int = 0

    def __post_init__(self) -> None:
        prices = {"cpu": self.cpu_hour_micros, "gib": self.gib_hour_micros, **self.gpu_hour_micros}
        for name, price in prices.items():
            if isinstance(price, bool) or not isinstance(price, int) or not 0 <= price <= MAX_MICROS:
                raise InvalidInput(f"The price of {name!r} must be whole micros per hour, 0 or more.")
        if not 0 <= self.spot_discount_ppm <= _PPM:
            raise InvalidInput(f"`spot_discount_ppm` must be 0 to {_PPM}; got {self.spot_discount_ppm}.")

    def cost(
        self, resources: Resources, lifetime: timedelta, *, gpu_label: str | None = None, spot: bool = False
    ) -> Micros:
        """What it costs to hold resources for a time, rounded up to a whole micro.

        A clock that went back makes no refund: a negative lifetime costs nothing. Raises ``InvalidInput`` for
        a GPU without a price, since what is not priced would run for free.
        """
        micros_us = max(0, lifetime // timedelta(microseconds=1))
        # In micros per hour times 1000 milli-units times bytes of a GiB, so that nothing is divided before
        # the end.
        per_hour = resources.cpu_milli * self.cpu_hour_micros * _GIB
        per_hour += resources.memory_bytes * self.gib_hour_micros * 1000
        if resources.gpu_milli:
            per_hour += resources.gpu_milli * self._gpu(gpu_label) * _GIB
        payable = _PPM - self.spot_discount_ppm if spot else _PPM
        cost = -(-per_hour * micros_us * payable // (1000 * _GIB * _HOUR_US * _PPM))
        if cost > MAX_MICROS:
            raise InvalidInput("The cost is more than can be counted; ask for less or for a shorter time.")
        return Micros(cost)

    def kinds(self, condition: str | None) -> list[str]:
        """Kinds of GPU with a price that meet a condition on their label; of none, every kind."""
        if condition is None:
            return list(self.gpu_hour_micros)
        wanted = ((ACCELERATOR_LABEL, condition),)
        return [kind for kind in self.gpu_hour_micros if meets({ACCELERATOR_LABEL: kind}, wanted)]

    def most_per_hour(self, request: Request) -> Micros:
        """The most that an hour of a request can cost, on whatever nodes it lands.

        Raises ``InvalidInput`` where it may get a GPU without a price.
        """
        kind = None
        if request.resources.gpu_milli:
            kinds = self.kinds(dict(request.selector).get(ACCELERATOR_LABEL))
            kind = max(kinds, key=self.gpu_hour_micros.__getitem__, default=ANY_GPU)
        return self.cost(request.total, _HOUR, gpu_label=kind, spot=request.spot is Spot.ONLY)

    def per_hour(self, request: Request, *, accelerator: str | None, spot: bool) -> Micros:
        """What an hour of a request costs on a node with such a GPU; raises ``InvalidInput`` as above."""
        if not request.resources.gpu_milli:
            return self.cost(request.total, _HOUR, spot=spot)
        if accelerator not in self.gpu_hour_micros and ANY_GPU not in self.gpu_hour_micros:
            return self.most_per_hour(request)
        kind = accelerator if accelerator in self.gpu_hour_micros else ANY_GPU
        return self.cost(request.total, _HOUR, gpu_label=kind, spot=spot)

    def _gpu(self, label: str | None) -> int:
        price = self.gpu_hour_micros.get(label) if label is not None else None
        if price is None:
            known = ", ".join(sorted(self.gpu_hour_micros)) or "none"
            raise InvalidInput(f"A GPU labelled {label!r} has no price; priced are {known}.")
        return price
