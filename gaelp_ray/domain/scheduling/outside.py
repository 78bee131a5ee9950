"""What of the nodes is used by others than jobs of the queue: a driver of ``ray job submit``, a notebook.

Ray says how much of a node is used, the database what attempts hold; the difference is somebody else's. The
two are never of one moment: a task that was just started is not in Ray's figure yet, one that just ended
still is. So every amount that may be an attempt's counts as one, and what remains must remain for a while.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling.nodes import Node
from gaelp_ray.domain.scheduling.snapshot import Claim, Part

#: An amount is believed that was there in every look since so long ago.
WINDOW = timedelta(seconds=5)
#: What an attempt held counts as its own for so long after its end: its process and Ray's figure go later.
LEAVING = timedelta(seconds=20)


class OutsideUse:
    """Looks at the nodes again and again, and remembers what it saw for ``WINDOW``."""

    def __init__(self, window: timedelta = WINDOW) -> None:
        self._window = window
        self._seen: deque[tuple[datetime, dict[str, Resources]]] = deque()

    def counted(
        self,
        nodes: Iterable[Node],
        used: Mapping[str, Resources],
        claims: Iterable[Claim],
        leaving: Iterable[Part],
        now: datetime,
    ) -> tuple[Node, ...]:
        """The nodes, each with what others use of it.

        ``used``: by node, what Ray says is used; it was read before the claims. ``leaving``: what attempts
        held that have just ended.
        """
        parts = [*(part for claim in claims for part in claim.parts), *leaving]
        # An attempt without a known place may be anywhere.
        lost = _sum(part.resources for part in parts if part.node_id is None)
        ours: dict[str, Resources] = {}
        for part in parts:
            if part.node_id is not None:
                ours[part.node_id] = ours.get(part.node_id, Resources()) + part.resources
        found = tuple(nodes)
        nothing = Resources()
        seen = {
            node.id: _less(used.get(node.id, nothing), ours.get(node.id, nothing) + lost) for node in found
        }
        self._seen.append((now, seen))
        while now - self._seen[0][0] > self._window:
            self._seen.popleft()
        return tuple(replace(node, outside=self._lasting(node)) for node in found)

    def _lasting(self, node: Node) -> Resources:
        """The least that was seen of a node in every look."""
        amounts = [seen.get(node.id, Resources()) for _, seen in self._seen]
        return Resources(
            min(node.total.cpu_milli, *(each.cpu_milli for each in amounts)),
            min(node.total.memory_bytes, *(each.memory_bytes for each in amounts)),
            min(node.total.gpu_milli, *(each.gpu_milli for each in amounts)),
        )


def _sum(amounts: Iterable[Resources]) -> Resources:
    return sum(amounts, Resources())


def _less(used: Resources, ours: Resources) -> Resources:
    """What is left of an amount without another, nothing below 0."""
    return Resources(
        max(0, used.cpu_milli - ours.cpu_milli),
        max(0, used.memory_bytes - ours.memory_bytes),
        max(0, used.gpu_milli - ours.gpu_milli),
    )
