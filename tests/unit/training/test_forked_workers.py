"""Processes forked from a training process work or are refused in a sentence; none of them hangs."""

from __future__ import annotations

from typing import Any

from fake_link import FakeLink, Start

from gaelp_ray.domain.attempts import Directive
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.domain.resources import Resources
from tests.builders import MIB


def test_what_has_an_answer_is_refused_at_once_in_a_fork(start: Start, link: FakeLink) -> None:
    result: dict[str, Any] = dict(start("forks:ask").outcome().result or {})
    assert result.pop("metrics") == "None", "metrics may be reported"
    assert link.values("of_fork") == [1.0]
    assert set(result) == {"checkpoint", "spend", "new lease", "lease of the parent", "order", "orders"}
    for said in result.values():
        assert said.startswith("Forbidden: Process "), result
        assert " was forked from " in said


def test_a_fork_made_while_others_ask_does_not_hang(start: Start, link: FakeLink) -> None:
    assert start("forks:fork_while_asking").outcome().cause is EndCause.SUCCESS, link.output
    assert link.values("of_fork") == [float(n) for n in range(10)]


def test_a_forked_worker_learns_that_the_job_is_to_stop(start: Start, link: FakeLink) -> None:
    attempt = start("forks:wait_in_worker", stop_grace_s=30.0)
    link.wait_for("pid")
    link.directive = Directive(EndCause.PREEMPTED)
    outcome = attempt.outcome()
    assert (outcome.cause, outcome.result) == (EndCause.PREEMPTED, {"reason": "preempted"})
    assert link.values("heard") == [1.0]


def resources(mib: int) -> Resources:
    return Resources(cpu_milli=1000, memory_bytes=mib * MIB)


def test_memory_that_workers_share_counts_once(start: Start, link: FakeLink) -> None:
    given = {"mib": 180, "for_s": 0.6}
    outcome = start("forks:share", hyperparameters=given, resources=resources(600)).outcome()
    assert (outcome.cause, outcome.result) == (EndCause.SUCCESS, {"exits": [0] * 4}), outcome
    assert outcome.peak_memory_bytes is not None
    assert outcome.peak_memory_bytes < 600 * MIB


def test_memory_of_each_worker_counts(start: Start) -> None:
    outcome = start("forks:hoard", hyperparameters={"mib": 120}, resources=resources(400)).outcome()
    assert outcome.cause is EndCause.OOM
    assert "more than the 400 MiB it asked for" in outcome.message
