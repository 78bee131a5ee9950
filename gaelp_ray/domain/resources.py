"""Compute resources as exact integers, read from and written as Kubernetes quantities.

Quantity grammar: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
(decimal suffixes n u m k M G T P E, binary suffixes Ki Mi Gi Ti Pi Ei, decimal exponents such as 1e3; what is
finer than a thousandth or a byte is rounded up).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import ROUND_CEILING, Decimal
from typing import Any

from gaelp_ray.domain.errors import InvalidInput

# signedNumber with a decimal suffix, a binary one, or an exponent. What is negative is refused, so no sign.
_QUANTITY = re.compile(
    r"\+?(?P<number>[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})"
    r"(?:(?P<suffix>[KMGTPE]i|[numkMGTPE])|[eE](?P<exponent>[+-]?[0-9]{1,3}))?"
)
_SUFFIX = {"": Decimal(1), "m": Decimal("1e-3"), "u": Decimal("1e-6"), "n": Decimal("1e-9")}
_SUFFIX |= {s: Decimal(1000) ** (i + 1) for i, s in enumerate("kMGTPE")}
_SUFFIX |= {f"{s}i": Decimal(1024) ** (i + 1) for i, s in enumerate("KMGTPE")}
_MAX = Decimal(2) ** 53


def parse_quantity(given: Any, *, field: str) -> Decimal:
    """Read a Kubernetes quantity (``"500m"``, ``"2Gi"``, ``"1e3"``, ``4``) as a non-negative number."""
    text = "" if isinstance(given, bool) or not isinstance(given, str | int | float) else f"{given}"
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise InvalidInput(
            f"`{field}` must be a quantity such as '500m', '2Gi' or 4, and not negative; got {given!r:.60}.",
            field=field,
        )
    value = Decimal(match["number"]) * _SUFFIX[match["suffix"] or ""]
    value = value.scaleb(int(match["exponent"] or 0))
    if value > _MAX:
        raise InvalidInput(
            f"`{field}` is too large: {given!r:.60}; the most is 2 to the power 53.", field=field
        )
    return value


def whole(amount: Decimal) -> int:
    """Rounded up, as Kubernetes does with what is finer than it counts."""
    return int(amount.to_integral_value(ROUND_CEILING))


@dataclass(frozen=True, slots=True)
class Resources:
    """An amount of each resource; differences may be negative, requests may not."""

    #: Thousandths of a CPU core.
    cpu_milli: int = 0
    memory_bytes: int = 0
    #: Thousandths of a GPU; below 1000 the job shares one GPU.
    gpu_milli: int = 0
    #: Checkpoint and scratch space. Counted against quotas, never placed on a node.
    storage_bytes: int = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            self.cpu_milli + other.cpu_milli,
            self.memory_bytes + other.memory_bytes,
            self.gpu_milli + other.gpu_milli,
            self.storage_bytes + other.storage_bytes,
        )

    def __sub__(self, other: Resources) -> Resources:
        return Resources(
            self.cpu_milli - other.cpu_milli,
            self.memory_bytes - other.memory_bytes,
            self.gpu_milli - other.gpu_milli,
            self.storage_bytes - other.storage_bytes,
        )

    def __mul__(self, count: int) -> Resources:
        return Resources(
            self.cpu_milli * count,
            self.memory_bytes * count,
            self.gpu_milli * count,
            self.storage_bytes * count,
        )

    def fits_on(self, free: Resources) -> bool:
        """Whether a node with ``free`` can hold this request (storage is not a node resource)."""
        return (
            self.cpu_milli <= free.cpu_milli
            and self.memory_bytes <= free.memory_bytes
            and self.gpu_milli <= free.gpu_milli
        )

    @property
    def shape(self) -> str:
        """A key equal for equal requests, so that equivalent jobs are judged once."""
        return f"{self.cpu_milli}c-{self.memory_bytes}m-{self.gpu_milli}g"

    def to_quantities(self) -> dict[str, str]:
        """The request as users write it, e.g. ``{"cpu": "500m", "memory": "2Gi", "gpu": "1"}``."""
        return {
            "cpu": _write_milli(self.cpu_milli),
            "memory": _write_bytes(self.memory_bytes),
            "gpu": _write_milli(self.gpu_milli),
            "storage": _write_bytes(self.storage_bytes),
        }


#: What a job gets that asks for nothing.
DEFAULT_REQUEST = Resources(cpu_milli=1000, memory_bytes=512 * 1024**2)

FIELDS = {"cpu": "cpu_milli", "memory": "memory_bytes", "gpu": "gpu_milli", "storage": "storage_bytes"}
MILLI = frozenset({"cpu", "gpu"})
#: The least that means anything, in the unit that is counted, and how people write it. Less is a suffix that
#: was forgotten, or a share that no process can work with.
_LEAST = {
    "cpu": (1, "'1m', a thousandth of a core"),
    "memory": (32 * 1024**2, "'32Mi'"),
    "gpu": (10, "'10m', a hundredth of a GPU"),
    "storage": (1024**2, "'1Mi'"),
}


def read_amount(given: Any, name: str, *, field: str) -> int:
    """So much of a resource, in thousandths or bytes, rounded up; 0 is none.

    Raises ``InvalidInput`` for what is no quantity, and for an amount above 0 that is too little to mean
    anything, such as 512 bytes of memory.
    """
    quantity = parse_quantity(given, field=field)
    amount = whole(quantity * 1000 if name in MILLI else quantity)
    least, written = _LEAST[name]
    if 0 < amount < least:
        unit = "" if name in MILLI else f", which is {amount} bytes; write '{given}Mi' for mebibytes"
        if not str(given).isdecimal():
            unit = ""
        raise InvalidInput(
            f"`{field}` is at least {written}, or 0 for none; got {given!r:.60}{unit}.", field=field
        )
    return amount


def parse_resources(
    given: Mapping[str, Any], *, default: Resources = DEFAULT_REQUEST, field: str = "resource_requirements"
) -> Resources:
    """Read ``{"cpu": "4", "memory": "8Gi", "gpu": "1"}``; names left out come from ``default``.

    Raises ``InvalidInput`` for unknown names, bad quantities, no CPU or memory, and GPU requests that are
    neither whole nor a share below one (one task cannot hold 1.5 GPUs).
    """
    unknown = sorted(set(given) - set(FIELDS))
    if unknown:
        raise InvalidInput(f"`{field}`: unknown resource {unknown[0]!r:.60}; known are {', '.join(FIELDS)}.")
    values = {f.name: getattr(default, f.name) for f in fields(Resources)}
    for name, quantity in given.items():
        values[FIELDS[name]] = read_amount(quantity, name, field=f"{field}.{name}")
    request = Resources(**values)
    if request.cpu_milli <= 0:
        raise InvalidInput(f"`{field}.cpu` must be above 0; a job needs some CPU, e.g. '500m'.")
    if request.memory_bytes <= 0:
        raise InvalidInput(f"`{field}.memory` must be above 0; a job needs some, e.g. '512Mi'.")
    if request.gpu_milli > 1000 and request.gpu_milli % 1000:
        raise InvalidInput(f"`{field}.gpu` must be whole, or a share below 1 such as '500m'.")
    return request


def _write_milli(milli: int) -> str:
    return str(milli // 1000) if milli % 1000 == 0 else f"{milli}m"


def _write_bytes(count: int) -> str:
    for power, suffix in ((4, "Ti"), (3, "Gi"), (2, "Mi"), (1, "Ki")):
        if count and count % 1024**power == 0:
            return f"{count // 1024**power}{suffix}"
    return str(count)
