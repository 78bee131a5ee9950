"""Free room on nodes, and where the next worker fits best.

Best fit on GPUs first, then CPU, then memory: small work gathers on nodes that are in use already, so that
whole nodes stay free for large jobs and empty ones can be given back. A share of a GPU never spans two, as
Ray places it, so each GPU is counted by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaelp_ray.domain.requests import Request, Selector
from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling.decisions import Placed
from gaelp_ray.domain.scheduling.nodes import Node, suits
from gaelp_ray.domain.scheduling.snapshot import Claim

WHOLE = 1000
Mask = NDArray[np.bool_]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Kind:
    """What of a request decides which nodes suit it."""

    selector: Selector
    spot: str
    on_demand: bool


class Pool:
    """Free room. ``place`` looks and takes nothing; ``take``, ``give`` and ``release`` change it."""

    def __init__(self, nodes: Sequence[Node], claims: Iterable[Claim] = ()) -> None:
        self._nodes = sorted((n for n in nodes if not n.cordoned), key=lambda node: node.id)
        self._index = {node.id: i for i, node in enumerate(self._nodes)}
        totals = [node.total for node in self._nodes]
        cpu = [node.total.cpu_milli - node.outside.cpu_milli for node in self._nodes]
        memory = [node.total.memory_bytes - node.outside.memory_bytes for node in self._nodes]
        #: Free thousandths of each GPU of each node.
        self._gpus = [[WHOLE] * (t.gpu_milli // WHOLE) for t in totals]
        self._held = self._occupy(claims, cpu, memory)
        self._cpu = np.array(cpu, dtype=np.int64)
        self._memory = np.array(memory, dtype=np.int64)
        self._market = np.array([not node.spot for node in self._nodes], dtype=np.int64)
        #: GPUs that are free as a whole, and the largest share that is left of another.
        self._whole = np.array([free.count(WHOLE) for free in self._gpus], dtype=np.int64)
        self._share = np.array([_largest_share(free) for free in self._gpus], dtype=np.int64)
        self._suitable: dict[_Kind, Mask] = {}

    def clone(self) -> Pool:
        other = object.__new__(Pool)
        other.__dict__.update(self.__dict__)
        other._cpu, other._memory = self._cpu.copy(), self._memory.copy()
        other._whole, other._share = self._whole.copy(), self._share.copy()
        other._gpus = [list(gpus) for gpus in self._gpus]
        return other

    def place(
        self, request: Request, *, on_demand: bool = True, without: Iterable[str] = ()
    ) -> tuple[Placed, ...] | None:
        """Where every worker of a request fits together now; None when they do not."""
        placed = self.place_some(request, on_demand=on_demand, without=without)
        return placed if len(placed) == request.workers else None

    def place_some(
        self, request: Request, *, on_demand: bool = True, without: Iterable[str] = ()
    ) -> tuple[Placed, ...]:
        """Where as many workers of a request as there is room for fit together now."""
        mask = self._suits(request, on_demand=on_demand)
        if without:
            mask = mask.copy()
            mask[[self._index[node_id] for node_id in without if node_id in self._index]] = False
        placed: list[Placed] = []
        for _ in range(request.workers):
            found = np.flatnonzero(mask & self._fits(request.resources))
            if not len(found):
                break
            placed.append(self._placed(self._best(found, request.resources.gpu_milli), request.resources))
            if request.workers > 1:
                self.take(placed[-1:])
        if request.workers > 1:
            self.give(placed)
        return tuple(placed)

    def place_on(self, node_id: str, resources: Resources) -> Placed | None:
        """One worker on this node, if there is room now."""
        i = self._index[node_id]
        return self._placed(i, resources) if self._fits(resources)[i] else None

    def take(self, placed: Iterable[Placed]) -> None:
        for each in placed:
            self._move(each, -1)

    def give(self, placed: Iterable[Placed]) -> None:
        for each in placed:
            self._move(each, +1)

    def has(self, node_id: str) -> bool:
        return node_id in self._index

    def release(self, job_id: int) -> None:
        """What a live attempt holds becomes free."""
        self.give(self.held(job_id))

    def held(self, job_id: int) -> tuple[Placed, ...]:
        """What a live attempt holds on nodes that are here."""
        return tuple(
            Placed(self._nodes[i].id, amount, gpus) for i, amount, gpus in self._held.get(job_id, ())
        )

    def could_hold(
        self, request: Request, freed: Sequence[tuple[str, Resources]], *, on_demand: bool = True
    ) -> list[str]:
        """Nodes on which one worker might fit if so much became free on them: a quick look, by sums alone."""
        at = np.array([self._index[node_id] for node_id, _ in freed], dtype=np.int64)
        count = len(self._nodes)

        def more(amounts: Iterable[int]) -> NDArray[np.float64]:
            weights = np.fromiter(amounts, dtype=np.float64)
            return np.bincount(at, weights=weights, minlength=count).astype(np.float64)

        asked = request.resources
        mask = self._suits(request, on_demand=on_demand).copy()
        mask &= self._cpu + more(each.cpu_milli for _, each in freed) >= asked.cpu_milli
        mask &= self._memory + more(each.memory_bytes for _, each in freed) >= asked.memory_bytes
        if asked.gpu_milli:
            free = np.array([sum(gpus) for gpus in self._gpus], dtype=np.float64)
            mask &= free + more(each.gpu_milli for _, each in freed) >= asked.gpu_milli
        return [self._nodes[i].id for i in np.flatnonzero(mask)]

    def free_on(self, node_id: str) -> Resources:
        i = self._index[node_id]
        return Resources(int(self._cpu[i]), int(self._memory[i]), sum(self._gpus[i]))

    def suitable(self, request: Request, *, on_demand: bool = True) -> list[str]:
        """Nodes that could hold one worker if they were empty."""
        mask = self._suits(request, on_demand=on_demand)
        return [
            self._nodes[i].id for i in np.flatnonzero(mask) if request.resources.fits_on(self._nodes[i].total)
        ]

    def freest(self, request: Request) -> Resources | None:
        """What the suitable node with most room has left; None when no node suits."""
        rooms = [self.free_on(node_id) for node_id in self.suitable(request)]
        return max(rooms, key=lambda r: (r.gpu_milli, r.cpu_milli, r.memory_bytes), default=None)

    def _best(self, found: Indices, gpu: int) -> int:
        """Of nodes with room the one on which least is left; spot nodes first, for those who take them."""
        if gpu == 0:
            left = self._whole * WHOLE + self._share
        elif gpu >= WHOLE:
            left = self._whole
        else:
            left = np.where(self._share >= gpu, self._share, WHOLE + self._whole)
        for key in (self._market, left, self._cpu, self._memory):
            if len(found) == 1:
                break
            values = key[found]
            found = found[values == values.min()]
        return int(found[0])

    def _fits(self, asked: Resources) -> Mask:
        mask: Mask = (self._cpu >= asked.cpu_milli) & (self._memory >= asked.memory_bytes)
        if asked.gpu_milli >= WHOLE:
            mask &= self._whole >= asked.gpu_milli // WHOLE
        elif asked.gpu_milli:
            mask &= (self._share >= asked.gpu_milli) | (self._whole >= 1)
        return mask

    def _suits(self, request: Request, *, on_demand: bool) -> Mask:
        kind = _Kind(request.selector, request.spot, on_demand)
        mask = self._suitable.get(kind)
        if mask is None:
            bare = Request(Resources(), selector=request.selector, spot=request.spot)
            mask = np.array([suits(n, bare, on_demand=on_demand) for n in self._nodes], dtype=np.bool_)
            self._suitable[kind] = mask
        return mask

    def _placed(self, i: int, resources: Resources) -> Placed:
        return Placed(self._nodes[i].id, resources, self._choose(self._gpus[i], resources.gpu_milli))

    @staticmethod
    def _choose(free: list[int], gpu: int) -> tuple[int, ...]:
        """Numbers of the GPUs to use: the emptiest for whole ones, the fullest that has room for a share."""
        if gpu == 0:
            return ()
        if gpu >= WHOLE:
            return tuple(sorted(range(len(free)), key=lambda n: (-free[n], n))[: gpu // WHOLE])
        fitting = [n for n in range(len(free)) if free[n] >= gpu]
        chosen = min(fitting, key=lambda n: (free[n], n)) if fitting else None
        return () if chosen is None else (chosen,)

    def _occupy(
        self, claims: Iterable[Claim], cpu: list[int], memory: list[int]
    ) -> dict[int, list[tuple[int, Resources, tuple[int, ...]]]]:
        """Take what live attempts hold: known GPUs first, then whole ones, then large shares."""
        index = self._index
        parts = [(c.job_id, index[p.node_id], p) for c in claims for p in c.parts if p.node_id in index]
        parts.sort(key=lambda each: (not each[2].gpus, -each[2].resources.gpu_milli))
        held: dict[int, list[tuple[int, Resources, tuple[int, ...]]]] = {}
        for job_id, i, part in parts:
            amount, free, gpus = part.resources, self._gpus[i], part.gpus
            cpu[i] -= amount.cpu_milli
            memory[i] -= amount.memory_bytes
            if amount.gpu_milli:
                if not gpus or max(gpus) >= len(free):
                    gpus = self._choose(free, amount.gpu_milli)
                for number in gpus:
                    free[number] -= min(WHOLE, amount.gpu_milli)
            held.setdefault(job_id, []).append((i, amount, gpus))
        # Last, for nobody says which GPUs others use: those that attempts are known to hold they do not.
        for node, free in zip(self._nodes, self._gpus, strict=True):
            self._occupy_outside(free, node.outside.gpu_milli)
        return held

    def _occupy_outside(self, free: list[int], gpu: int) -> None:
        whole, share = divmod(gpu, WHOLE)
        for amount in (whole * WHOLE, share):
            for number in self._choose(free, amount):
                free[number] -= min(WHOLE, amount)

    def _move(self, placed: Placed, sign: int) -> None:
        i, amount = self._index[placed.node_id], placed.resources
        self._cpu[i] += sign * amount.cpu_milli
        self._memory[i] += sign * amount.memory_bytes
        if not placed.gpus:
            return
        free = self._gpus[i]
        for number in placed.gpus:
            free[number] += sign * min(WHOLE, amount.gpu_milli)
        self._whole[i] = free.count(WHOLE)
        self._share[i] = _largest_share(free)


def _largest_share(free: Sequence[int]) -> int:
    """What is left of the GPU that is in use but has most left."""
    return max([left for left in free if left < WHOLE], default=0)
