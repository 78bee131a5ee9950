"""Which nodes waiting work needs that the autoscaler may still add, within its bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gaelp_ray.domain.requests import Request
from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling.decisions import Demand
from gaelp_ray.domain.scheduling.nodes import NodeShape, suits
from gaelp_ray.domain.scheduling.queue import QueuedJob


@dataclass
class _Coming:
    """A node that would be added."""

    shape: NodeShape
    free: Resources


class Growth:
    """Nodes that would be added for the jobs seen so far."""

    def __init__(self, shapes: Sequence[NodeShape]) -> None:
        self._shapes = sorted(shapes, key=lambda shape: (not shape.spot, shape.name))
        self._room = {shape.name: shape.room for shape in shapes}
        self._coming: list[_Coming] = []
        self._demands: dict[Request, int] = {}

    def ask(self, lane: Sequence[QueuedJob], head: QueuedJob, *, on_demand: bool, there: int) -> bool:
        """Ask for nodes for a waiting job, and for those behind it in its lane while bounds allow.

        ``there``: so many workers of the first have room already.
        """
        request = head.request
        if not any(shape.room and suits(shape, request, on_demand=on_demand) for shape in self._shapes):
            return False
        jobs = [job for job in lane if (job.submitted_at, job.id) >= (head.submitted_at, head.id)]
        granted = 0
        for job in jobs:
            missing = request.workers - (there if job is head else 0)
            if not self._add(request, missing, on_demand):
                break
            granted += 1
        if granted:
            self._demands[request] = self._demands.get(request, 0) + granted * request.workers
        return granted > 0

    def demands(self) -> tuple[Demand, ...]:
        found = sorted(self._demands.items(), key=lambda item: item[0].key)
        return tuple(Demand(request, count) for request, count in found)

    def _add(self, request: Request, workers: int, on_demand: bool) -> bool:
        """Room for so many workers on nodes to come; all or nothing."""
        taken: list[_Coming] = []
        opened: list[_Coming] = []
        for _ in range(workers):
            node = self._node_for(request, on_demand)
            if node is None:
                node = self._open(request, on_demand)
                if node is None:
                    self._undo(request, taken, opened)
                    return False
                opened.append(node)
            node.free -= request.resources
            taken.append(node)
        return True

    def _node_for(self, request: Request, on_demand: bool) -> _Coming | None:
        for node in self._coming:
            if request.resources.fits_on(node.free) and suits(node.shape, request, on_demand=on_demand):
                return node
        return None

    def _open(self, request: Request, on_demand: bool) -> _Coming | None:
        """The smallest kind of node that suits, so that a GPU node is not added for a CPU job."""
        fitting = [
            shape
            for shape in self._shapes
            if self._room[shape.name] > 0 and suits(shape, request, on_demand=on_demand)
        ]
        if not fitting:
            return None
        size = lambda s: (not s.spot, s.total.gpu_milli, s.total.cpu_milli, s.name)  # noqa: E731
        shape = min(fitting, key=size)
        self._room[shape.name] -= 1
        node = _Coming(shape, shape.total)
        self._coming.append(node)
        return node

    def _undo(self, request: Request, taken: list[_Coming], opened: list[_Coming]) -> None:
        for node in taken:
            node.free += request.resources
        for node in opened:
            self._coming.remove(node)
            self._room[node.shape.name] += 1
