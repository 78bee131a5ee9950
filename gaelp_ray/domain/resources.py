"""Compute resources as exact integers, read from and written as Kubernetes quantities.

Quantity grammar: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
(decimal suffixes m k M G T P E, binary suffixes Ki Mi Gi Ti Pi Ei).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

from gaelp_ray.domain.errors import InvalidInput

_QUANTITY = re.compile(r"^\s*\+?(\d+(?:\.\d*)?|\.\d+)(Ki|Mi|Gi|Ti|Pi|Ei|m|k|M|G|T|P|E)?\s*$")
_SUFFIX = {"": Decimal(1), "m": Decimal("0.001")}
_SUFFIX |= {s: Decimal(1000) ** (i + 1) for i, s in enumerate("kMGTPE")}
_SUFFIX |= {f"{s}i": Decimal(1024) ** (i + 1) for i, s in enumerate("KMGTPE")}
_MAX = Decimal(2) ** 53


def parse_quantity(text: Any, *, field: str) -> Decimal:
    """Read a Kubernetes quantity (``"500m"``, ``"2Gi"``, ``"1"``, ``4``) as a non-negative number."""
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise InvalidInput(
            f"`{field}` must be a quantity such as '500m', '2Gi' or 4; got {text!r}.", field=field
        )
    match = _QUANTITY.match(str(text))
    if match is None:
        raise InvalidInput(
            f"`{field}` must be a quantity such as '500m', '2Gi' or 4; got {text!r}.", field=field
        )
    value = Decimal(match[1]) * _SUFFIX[match[2] or ""]
    if value > _MAX:
        raise InvalidInput(f"`{field}` is too large: {text!r}.", field=field)
    return value


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

_FIELDS = {"cpu": "cpu_milli", "memory": "memory_bytes", "gpu": "gpu_milli", "storage": "storage_bytes"}
_MILLI = {"cpu", "gpu"}


def parse_resources(given: Mapping[str, Any], *, default: Resources = DEFAULT_REQUEST) -> Resources:
    """Read ``{"cpu": "4", "memory": "8Gi", "gpu": "1"}``; names left out come from ``default``.

    Raises ``InvalidInput`` for unknown names, bad quantities, no CPU or memory, and GPU requests that are
    neither whole nor a share below one (one task cannot hold 1.5 GPUs).
    """
    unknown = sorted(set(given) - set(_FIELDS))
    if unknown:
        raise InvalidInput(f"Unknown resource {unknown[0]!r}; known are {', '.join(_FIELDS)}.")
    values = {f.name: getattr(default, f.name) for f in fields(Resources)}
    for name, quantity in given.items():
        amount = parse_quantity(quantity, field=f"resource_requirements.{name}")
        values[_FIELDS[name]] = int(amount * 1000) if name in _MILLI else int(amount)
    request = Resources(**values)
    if request.cpu_milli <= 0:
        raise InvalidInput("`resource_requirements.cpu` must be above 0; a job needs some CPU, e.g. '500m'.")
    if request.memory_bytes <= 0:
        raise InvalidInput("`resource_requirements.memory` must be above 0; a job needs some, e.g. '512Mi'.")
    if request.gpu_milli > 1000 and request.gpu_milli % 1000:
        raise InvalidInput("`resource_requirements.gpu` must be whole, or a share below 1 such as '500m'.")
    return request


def _write_milli(milli: int) -> str:
    return str(milli // 1000) if milli % 1000 == 0 else f"{milli}m"


def _write_bytes(count: int) -> str:
    for power, suffix in ((4, "Ti"), (3, "Gi"), (2, "Mi"), (1, "Ki")):
        if count and count % 1024**power == 0:
            return f"{count // 1024**power}{suffix}"
    return str(count)
