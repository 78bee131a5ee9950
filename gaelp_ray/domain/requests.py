"""What a job asks of the cluster: resources, how many workers, on which nodes, at which price."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from hashlib import blake2b

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.resources import Resources

#: Ray's own label for how a node was bought (Ray docs, "Use labels to control scheduling").
MARKET_LABEL = "ray.io/market-type"
SPOT_MARKET = "spot"
ACCELERATOR_LABEL = "ray.io/accelerator-type"
MAX_WORKERS = 1024

_KEY = re.compile(r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\Z")
_VALUE = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_CONDITION = re.compile(rf"^!?({_VALUE}|in\({_VALUE}(, *{_VALUE})*\))\Z")


class Spot(StrEnum):
    """Whether a job may run on nodes that their owner may take back."""

    AVOID = "avoid"
    #: Spot nodes first; others after a wait.
    PREFER = "prefer"
    ONLY = "only"


Selector = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Request:
    """What one job needs to start; equal requests are judged once."""

    #: Of each worker.
    resources: Resources
    #: Placed all or not at all.
    workers: int = 1
    #: ``(label, condition)``, all of which a node must meet; see ``meets``.
    selector: Selector = ()
    spot: Spot = Spot.AVOID

    @cached_property
    def total(self) -> Resources:
        return self.resources * self.workers

    @cached_property
    def key(self) -> str:
        """Short text, equal for equal requests."""
        amount = self.resources
        parts = (
            amount.cpu_milli,
            amount.memory_bytes,
            amount.gpu_milli,
            amount.storage_bytes,
            self.workers,
            self.selector,
            str(self.spot),
        )
        return blake2b(repr(parts).encode(), digest_size=8).hexdigest()

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Request) and self.key == other.key

    @cached_property
    def sentence(self) -> str:
        """The request in words, e.g. ``2 workers of 4 CPU, 8 GiB memory and 1 GPU each``."""
        text = in_words(self.resources)
        if self.workers > 1:
            text = f"{self.workers} workers of {text} each"
        conditions = [f"{label}={condition}" for label, condition in self.selector]
        if self.spot is Spot.ONLY:
            conditions.append("spot")
        return f"{text} on nodes with {', '.join(conditions)}" if conditions else text


def in_words(amount: Resources) -> str:
    gib = amount.memory_bytes / 1024**3
    return f"{amount.cpu_milli / 1000:g} CPU, {gib:.3g} GiB memory and {amount.gpu_milli / 1000:g} GPU"


def check_selector(given: Mapping[str, str]) -> Selector:
    """Read a label selector as Ray writes them: ``value``, ``!value``, ``in(a, b)`` or ``!in(a, b)``.

    Raises ``InvalidInput`` naming the first label or condition that is not one.
    """
    for label, condition in given.items():
        if not _KEY.match(label):
            raise InvalidInput(
                f"`label_selector`: {label[:80]!r} is not a label such as ray.io/accelerator-type."
            )
        if not _CONDITION.match(condition):
            raise InvalidInput(
                f"`label_selector`: {condition[:80]!r} is not 'value', '!value', 'in(a, b)' or '!in(a, b)'."
            )
    return tuple(sorted(given.items()))


def check_workers(workers: int) -> int:
    if not 1 <= workers <= MAX_WORKERS:
        raise InvalidInput(f"`workers` must be 1 to {MAX_WORKERS}; got {workers}.")
    return workers


def meets(labels: Mapping[str, str], selector: Selector) -> bool:
    """Whether a node with these labels meets every condition."""
    return all(_meets(labels.get(label), condition) for label, condition in selector)


def _meets(value: str | None, condition: str) -> bool:
    negated = condition.startswith("!")
    wanted = condition.removeprefix("!")
    if wanted.startswith("in("):
        found = value in [part.strip() for part in wanted[3:-1].split(",")]
    else:
        found = value == wanted
    return found is not negated
