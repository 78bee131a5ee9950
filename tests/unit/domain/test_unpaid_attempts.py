"""What becomes of a running attempt whose next slice of running time is refused."""

from __future__ import annotations

import pytest

from gaelp_ray.domain.attempts import Directive, unpaid
from gaelp_ray.domain.errors import AccountClosed, BudgetExceeded, GaelpError, Halted, Unavailable
from gaelp_ray.domain.jobs import EndCause, JobEvent, JobState
from gaelp_ray.domain.retries import RetryPolicy, judge
from tests.builders import T0


@pytest.mark.parametrize(
    ("refusal", "cause", "event"),
    [
        (BudgetExceeded("nothing left"), EndCause.BUDGET, JobEvent.FAIL),
        (Halted("stopped"), EndCause.PREEMPTED, JobEvent.REQUEUE),
        (Unavailable("no answer"), EndCause.PREEMPTED, JobEvent.REQUEUE),
        (AccountClosed("closed"), EndCause.PREEMPTED, JobEvent.REQUEUE),
    ],
)
def test_only_who_has_no_money_fails(refusal: GaelpError, cause: EndCause, event: JobEvent) -> None:
    assert unpaid(refusal) == Directive(cause, refusal.message)
    counts = {"failures": 0, "losses": 0, "max_retries": 3}
    assert judge(JobState.RUNNING, cause, policy=RetryPolicy(), now=T0, **counts).event is event
