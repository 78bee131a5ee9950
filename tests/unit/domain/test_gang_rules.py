"""What the workers of a gang are told of each other, and what their ends mean for the attempt."""

from __future__ import annotations

import pytest

from gaelp_ray.domain.attempts import Outcome, Seat
from gaelp_ray.domain.gangs import Member, combined, environment
from gaelp_ray.domain.jobs import EndCause


def member(rank: int, node: str, *gpus: int) -> Member:
    return Member(rank, Seat(node, gpus), f"10.0.0.{rank + 1}", 29_500 + rank)


def test_every_rank_finds_the_group_as_torch_expects() -> None:
    gang = [member(0, "a"), member(1, "b"), member(2, "a")]
    assert environment(gang, 2) == {
        "RANK": "2",
        "WORLD_SIZE": "3",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "10.0.0.1",
        "MASTER_PORT": "29500",
    }
    assert [environment(gang, rank)["LOCAL_RANK"] for rank in range(3)] == ["0", "0", "1"]


def test_ranks_of_one_node_see_all_its_gpus_and_index_them_by_local_rank() -> None:
    gang = [member(0, "a", 3), member(1, "a", 1), member(2, "b", 0)]
    assert environment(gang, 0)["CUDA_VISIBLE_DEVICES"] == "3,1"
    assert environment(gang, 1)["CUDA_VISIBLE_DEVICES"] == "3,1"
    assert "CUDA_VISIBLE_DEVICES" not in environment(gang, 2), "it keeps what it sees"


@pytest.mark.parametrize(
    "gang",
    [
        pytest.param([member(0, "a", 0), member(1, "a", 0)], id="they share one"),
        pytest.param([member(0, "a", 0, 1), member(1, "a", 2, 3)], id="each has two"),
        pytest.param([member(0, "a", 0), member(1, "a")], id="one has none"),
    ],
)
def test_otherwise_each_keeps_the_gpus_it_sees(gang: list[Member]) -> None:
    assert "CUDA_VISIBLE_DEVICES" not in environment(gang, 1)


C = EndCause

#: what ended the ranks; why they were told to stop; the cause of the attempt, the rank that tells it
ENDS: dict[str, tuple[dict[int, EndCause], EndCause | None, EndCause, int]] = {
    "all succeed": ({0: C.SUCCESS, 1: C.SUCCESS}, None, C.SUCCESS, 0),
    "one fails": ({0: C.SUCCESS, 1: C.USER_ERROR}, None, C.USER_ERROR, 1),
    "the first of two errors": ({2: C.USER_ERROR, 1: C.USER_ERROR}, None, C.USER_ERROR, 1),
    "a loss and its echo": ({0: C.USER_ERROR, 1: C.NODE_LOST}, C.SUPERSEDED, C.NODE_LOST, 1),
    "no memory and its echo": ({0: C.USER_ERROR, 2: C.OOM}, C.SUPERSEDED, C.OOM, 2),
    "a bad entry point": ({0: C.MISCONFIGURED, 1: C.MISCONFIGURED}, None, C.MISCONFIGURED, 0),
    "no budget left": ({0: C.BUDGET, 1: C.USER_ERROR}, C.SUPERSEDED, C.BUDGET, 0),
    "past its time": ({0: C.TIMEOUT, 1: C.TIMEOUT}, None, C.TIMEOUT, 0),
    "cancelled": ({0: C.CANCELLED, 1: C.CANCELLED}, C.CANCELLED, C.CANCELLED, 0),
    "one breaks as its peer makes room": ({0: C.USER_ERROR, 1: C.PREEMPTED}, C.PREEMPTED, C.PREEMPTED, 1),
}


@pytest.mark.parametrize("case", ENDS)
def test_the_attempt_ends_as_the_most_telling_of_its_ranks(case: str) -> None:
    causes, told, cause, rank = ENDS[case]
    outcomes = {each: Outcome(end, f"words of {each}", result={"of": each}) for each, end in causes.items()}
    outcome = combined(outcomes, told)
    assert outcome.cause is cause
    assert outcome.message == (f"Rank {rank}: words of {rank}" if rank else "words of 0")
    assert outcome.result == (None if rank else {"of": 0})
