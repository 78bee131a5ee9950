"""An end that the database refuses is stored without what it refuses: no attempt lives on because of it."""

from __future__ import annotations

import asyncio

from ray.exceptions import NodeDiedError, RayTaskError, WorkerCrashedError

from gaelp_ray.actors.launcher import until_stored
from gaelp_ray.actors.verdicts import outcome_of_failure
from gaelp_ray.domain.attempts import Outcome
from gaelp_ray.domain.jobs import EndCause


def test_what_is_refused_is_left_out_and_tried_again_until_it_is_stored() -> None:
    stored: list[Outcome] = []

    async def store(outcome: Outcome) -> str:
        stored.append(outcome)
        if len(stored) < 4:
            raise ValueError("the database refuses this")
        return "failed"

    given = Outcome(EndCause.USER_ERROR, "words", exit_code=3, result={"a": 1})
    assert asyncio.run(until_stored(store, given, pause_s=0)) == "failed"
    assert stored[0] == given
    assert stored[1:] == [Outcome(EndCause.USER_ERROR, "How it ended in detail could not be stored.")] * 3


def test_a_loss_is_explained_by_a_node_that_died_alone() -> None:
    died = outcome_of_failure(NodeDiedError("gone"))
    crashed = outcome_of_failure(WorkerCrashedError())
    failed = outcome_of_failure(RayTaskError("run", "traceback", ValueError("no")))
    assert [each.cause for each in (died, crashed, failed)] == [EndCause.NODE_LOST] * 3
    assert [each.unexplained for each in (died, crashed, failed)] == [False, True, True]
