"""Gangs: the workers of one attempt, who run together or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gaelp_ray.domain.attempts import Outcome, Seat
from gaelp_ray.domain.jobs import EndCause

#: Which end of a worker explains best why the attempt ended. A lost worker breaks its peers' connections, and
#: they may say so before the loss is noticed: their errors are its echo.
_TELLING: Final = (
    EndCause.NODE_LOST,
    EndCause.OOM,
    EndCause.MISCONFIGURED,
    EndCause.BUDGET,
    EndCause.USER_ERROR,
)


@dataclass(frozen=True)
class Member:
    """One worker of an attempt, where its peers find it."""

    rank: int
    seat: Seat
    #: IP address of its host.
    address: str
    #: A port that was free there; that of rank 0 is where a process group meets.
    port: int


def environment(members: Sequence[Member], rank: int) -> dict[str, str]:
    """What ``torch.distributed`` and its like read to find the group (PyTorch docs, "torchrun")."""
    me, first = members[rank], members[0]
    here = [member for member in members if member.seat.node_id == me.seat.node_id]
    values = {
        "RANK": str(rank),
        "WORLD_SIZE": str(len(members)),
        "LOCAL_RANK": str(here.index(me)),
        "LOCAL_WORLD_SIZE": str(len(here)),
        "MASTER_ADDR": first.address,
        "MASTER_PORT": str(first.port),
    }
    shared = _gpus_of_node(here)
    return values | {"CUDA_VISIBLE_DEVICES": shared} if shared else values


def _gpus_of_node(here: Sequence[Member]) -> str:
    """The GPUs of all members of a node, in the order of ranks, so that ``LOCAL_RANK`` is an index of them.

    Empty where members have none or share one: then each keeps what it sees.
    """
    numbers = [number for member in here for number in member.seat.gpus]
    if len(here) < 2 or len(numbers) != len(here) or len(set(numbers)) != len(numbers):
        return ""
    return ",".join(str(number) for number in numbers)


def combined(outcomes: Mapping[int, Outcome], told: EndCause | None) -> Outcome:
    """How an attempt ended whose workers ended so; ``told`` is why the service told it to stop, if it did.

    Rank 0 speaks for all unless another ended for a cause that tells more: all must succeed for a success.
    Outcomes of workers that were told to stop because of another's end are not among ``outcomes``.
    """
    for rank, outcome in sorted(outcomes.items()):
        if outcome.cause is told:
            return _of_rank(rank, outcome)
    for cause in _TELLING:
        for rank, outcome in sorted(outcomes.items()):
            if outcome.cause is cause:
                return _of_rank(rank, outcome)
    rank, outcome = min(outcomes.items(), key=lambda item: (item[1].cause is EndCause.SUCCESS, item[0]))
    return _of_rank(rank, outcome)


def _of_rank(rank: int, outcome: Outcome) -> Outcome:
    if rank == 0:
        return outcome
    return replace(outcome, message=f"Rank {rank}: {outcome.message or outcome.cause}", result=None)
