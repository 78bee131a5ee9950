"""Jobs under every order of events that a cluster can think of, on a real database.

Each rule is one use case; after each, the promises about jobs are read back from the tables themselves.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, text

from gaelp_ray.domain.agents import AgentStatus
from gaelp_ray.domain.attempts import Attempt
from gaelp_ray.domain.duties import WAKE
from gaelp_ray.domain.errors import Conflict, ExceedsQuota, IllegalTransition
from gaelp_ray.domain.holds import HoldMode, HoldScope
from gaelp_ray.domain.jobs import LIVE, TERMINAL, TRANSITIONS, EndCause, JobEvent, JobState
from gaelp_ray.domain.quotas import UNLIMITED, QuotaKind
from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.retries import INFRASTRUCTURE, RETRYABLE
from gaelp_ray.domain.scheduling import Plan, Preemption, PreemptionReason, plan
from gaelp_ray.services import agents as agent_service
from gaelp_ray.services import attempts as attempt_service
from gaelp_ray.services import holds as hold_service
from gaelp_ray.services import launching, scheduling
from gaelp_ray.services import mirror as mirror_service
from gaelp_ray.store import queue as queue_store
from gaelp_ray.store.engine import Store
from tests.builders import ANN, CLUSTER, World, a_node

LAUNCHERS = ("cluster-a/launcher-0", "cluster-a/launcher-1")
TABLES = """agents, agent_versions, jobs, attempts, job_events, checkpoints, outbox, launchers, leases, lanes,
    quotas, holds, reservations, queue_depth"""


class JobMachine(RuleBasedStateMachine):
    jobs: Bundle[int] = Bundle("jobs")

    def __init__(self, store: Store, connection: Connection) -> None:
        super().__init__()
        self.store = store
        #: To read the tables themselves, outside any transaction.
        self.connection = connection
        # As a replica, for else the triggers of tables that are never changed would refuse it.
        forget = f"TRUNCATE {TABLES} RESTART IDENTITY CASCADE"
        self.sql(f"SET LOCAL session_replication_role = replica; {forget}")
        self.world = World(store, nodes=[a_node("n1", cpu=3), a_node("n2", cpu=2, gpu=1)])
        self.lives: dict[str, uuid.UUID] = {}
        self.ends: dict[int, tuple[Any, ...]] = {}

    def sql(self, statement: str) -> list[Any]:
        found = self.connection.execute(text(statement))
        return list(found) if found.returns_rows else []

    def attempt(self, pick: int) -> Attempt | None:
        """Any attempt there ever was, the newest most often."""
        found = self.sql("SELECT job_id, number FROM attempts ORDER BY id DESC LIMIT 6")
        if not found:
            return None
        job_id, number = found[pick % len(found)]
        return self.world.attempts(job_id)[number - 1]

    @initialize()
    def begin(self) -> None:
        self.agents = [self.world.agent().id, self.world.agent().id]
        for launcher in LAUNCHERS:
            self.restart_launcher(launcher)

    @rule(
        target=jobs,
        agent=st.integers(0, 1),
        priority=st.integers(1, 10),
        cpu=st.sampled_from(["500m", 1, 2, 3, 8]),
        gpu=st.sampled_from([0, 0, "500m", 1]),
        max_retries=st.integers(0, 2),
        workers=st.sampled_from([1, 1, 2]),
        preemptible=st.booleans(),
    )
    def submit(self, agent: int, cpu: Any, gpu: Any, **fields: Any) -> MultipleResults[int]:
        found = self.store.read(agent_service.get, self.agents[agent], by=ANN)
        try:
            return multiple(self.world.submit(found, resources={"cpu": cpu, "gpu": gpu}, **fields).id)
        except ExceedsQuota:
            return multiple()

    @rule(job=jobs)
    def cancel(self, job: int) -> None:
        self.world.cancel(job)

    @rule(agent=st.integers(0, 1), status=st.sampled_from([AgentStatus.ACTIVE, AgentStatus.PAUSED]))
    def change_agent(self, agent: int, status: AgentStatus) -> None:
        agent_id = self.agents[agent]
        self.store.transact(agent_service.change, agent_id, by=ANN, now=self.world.now, status=status)

    @rule()
    def tick(self) -> None:
        self.world.tick()

    @rule()
    def tick_of_a_scheduler_that_was_overtaken(self) -> None:
        slow = self.world.lead()
        seen = self.world.look()
        decided = plan(seen, self.world.now)
        self.world.tick()
        with pytest.raises(Conflict):
            self.world.apply(decided, seen, slow, **dict.fromkeys(LAUNCHERS, 0))

    @rule()
    def restart_scheduler(self) -> None:
        self.world.mirror = None

    @rule(job=jobs, priority=st.integers(1, 10), seconds=st.sampled_from([None, 30, 7200]))
    def edit(self, job: int, priority: int, seconds: int | None) -> None:
        deadline = None if seconds is None else self.world.now + timedelta(seconds=seconds)
        waits = self.world.job(job).state in (JobState.QUEUED, JobState.BACKOFF)
        with nullcontext() if waits else pytest.raises(IllegalTransition):
            self.world.edit(job, priority=priority, deadline=deadline)

    @rule(job=jobs)
    def preempt(self, job: int) -> None:
        seen, lease = self.world.look(), self.world.lead()
        ask = Preemption(job, PreemptionReason.PRIORITY, None, "Makes room.")
        told = self.world.apply(Plan(preemptions=(ask,)), seen, lease)
        assert told.preempted | told.dropped == {job}

    @rule(scope=st.sampled_from(["ann", "ads"]), cpu=st.sampled_from([500, 2000, UNLIMITED]))
    def change_quota(self, scope: str, cpu: int) -> None:
        """Of ann, who is in the team or not, or of the team."""
        if scope == "ads":
            self.world.quota("ads", kind=QuotaKind.TEAM, cpu=cpu)
        else:
            self.world.quota("ann", cpu=cpu, team="ads" if cpu == 2000 else None)

    @rule(mode=st.sampled_from(HoldMode), hold=st.booleans())
    def hold(self, mode: HoldMode, hold: bool) -> None:
        given: dict[str, Any] = {"by": ANN, "now": self.world.now}
        if hold:
            self.store.transact(hold_service.place, HoldScope.USER, "ann", mode, reason="", **given)
        elif self.sql("SELECT 1 FROM holds"):
            self.store.transact(hold_service.lift, HoldScope.USER, "ann", **given)

    @rule(seconds=st.sampled_from([1, 59, 60, 3600]))
    def wait(self, seconds: int) -> None:
        self.world.wait(seconds)

    @rule()
    def wake_due(self) -> None:
        self.world.duty(WAKE, scheduling.due, partial(scheduling.wake, now=self.world.now))

    @rule(launcher=st.sampled_from(LAUNCHERS))
    def carry_out_orders(self, launcher: str) -> None:
        self.world.life = self.lives[launcher]
        self.world.carry_out(launcher)

    @rule(launcher=st.sampled_from(LAUNCHERS))
    def restart_launcher(self, launcher: str) -> None:
        self.world.register(launcher)
        self.lives[launcher] = self.world.life

    @rule(pick=st.integers(0, 5))
    def claim(self, pick: int) -> None:
        attempt = self.attempt(pick)
        if attempt is not None:
            assert attempt.launcher is not None
            self.world.life = self.lives[attempt.launcher]
            granted = self.world.claim(attempt)
            assert granted is (attempt.claimed_at is None and attempt.ended_at is None)

    @rule(pick=st.integers(0, 5), cause=st.sampled_from(EndCause))
    def finish(self, pick: int, cause: EndCause) -> None:
        attempt = self.attempt(pick)
        if attempt is None or (cause is EndCause.SUCCESS and attempt.claimed_at is None):
            return
        state = self.world.finish(attempt, cause)
        assert (state is None) is (attempt.ended_at is not None)

    @rule(pick=st.integers(0, 5), step=st.integers(1, 9))
    def save_checkpoint(self, pick: int, step: int) -> None:
        attempt = self.attempt(pick)
        if attempt is not None:
            kept = self.world.save_checkpoint(attempt, step)
            assert (kept is None) is (attempt.ended_at is not None)

    @precondition(lambda self: self.world.now.hour % 2)
    @rule()
    def lose_everything(self) -> None:
        live = [row.id for row in self.sql("SELECT id FROM attempts WHERE ended_at IS NULL ORDER BY id")]
        lost = self.store.transact(
            attempt_service.lose, live, why="power cut", policy=self.world.policy, now=self.world.now
        )
        assert lost == len(live)

    @invariant()
    def a_job_has_a_live_attempt_exactly_while_it_is_live(self) -> None:
        attempts = defaultdict(list)
        for row in self.sql("SELECT job_id, number, cause FROM attempts ORDER BY job_id, number"):
            attempts[row.job_id].append(row)
        for job in self.sql("SELECT * FROM jobs"):
            tries = attempts[job.id]
            assert [a.number for a in tries] == list(range(1, job.attempt_number + 1)), job
            live = [a.number for a in tries if a.cause is None]
            assert live == ([job.attempt_number] if job.state in LIVE else []), job
            assert job.failures == sum(a.cause in RETRYABLE for a in tries) <= job.max_retries + 1, job
            assert job.losses == sum(a.cause in INFRASTRUCTURE for a in tries), job
            assert job.preemptions == sum(a.cause == EndCause.PREEMPTED for a in tries), job
            self.check_end(job)

    def check_end(self, job: Any) -> None:
        """An end has its time and its cause and never moves again; other columns are as the state says."""
        ended = JobState(job.state) in TERMINAL
        assert (job.finished_at is not None) is ended, job
        assert job.cause is not None or not ended, job
        assert (job.not_before is not None) is (job.state == JobState.BACKOFF), job
        if ended:
            end = (job.state, job.finished_at, job.cause, job.message, job.row_version)
            assert self.ends.setdefault(job.id, end) == end, "an end has moved"
        else:
            assert job.id not in self.ends, "an end has moved"

    @invariant()
    def events_are_a_path_through_the_table_of_states(self) -> None:
        at: dict[int, JobState] = {}
        for row in self.sql("SELECT job_id, event, from_state, to_state FROM job_events ORDER BY id"):
            before, event = at.get(row.job_id), JobEvent(row.event)
            assert row.from_state == before, row
            expected = JobState.QUEUED if before is None else TRANSITIONS[before, event]
            assert row.to_state == expected, row
            at[row.job_id] = expected
        assert at == {row.id: row.state for row in self.sql("SELECT id, state FROM jobs")}

    @invariant()
    def no_node_holds_more_than_it_has(self) -> None:
        held: dict[str, Resources] = defaultdict(Resources)
        for row in self.sql("SELECT * FROM attempts WHERE ended_at IS NULL"):
            assert len(row.placement) == row.workers
            for seat in row.placement:
                held[seat["node_id"]] += Resources(row.cpu_milli, row.memory_bytes, row.gpu_milli)
        for node in self.world.nodes:
            assert held[node.id].fits_on(node.total), (node, held)

    @invariant()
    def a_mirror_that_follows_is_the_queue_as_it_is(self) -> None:
        mirror = self.world.mirror
        if mirror is None:
            return
        self.store.read(mirror_service.refresh, mirror)
        followed = {job.id: replace(job, team=None) for job in mirror.queue}
        fresh = {job.id: job for job in self.store.transact(lambda tx: list(queue_store.stream(tx)))}
        assert followed == fresh
        assert sum(len(lane) for lane in mirror.queue.lanes()) == len(fresh)

    @invariant()
    def orders_wait_only_for_live_attempts_and_no_live_attempt_is_forgotten(self) -> None:
        attempts = {row.id: row for row in self.sql("SELECT id, ended_at, incarnation FROM attempts")}
        orders = self.sql("SELECT attempt_id, kind FROM outbox WHERE delivered_at IS NULL")
        assert all(attempts[order.attempt_id].ended_at is None for order in orders)
        handed = {a.id for a in attempts.values() if a.ended_at is not None or a.incarnation is not None}
        assert handed | {order.attempt_id for order in orders if order.kind == "launch"} == set(attempts)

    def teardown(self) -> None:
        """Whatever happened, every job can still be brought to an end."""
        for row in self.sql("SELECT id FROM jobs"):
            self.world.cancel(row.id)
        for row in self.sql("SELECT job_id FROM attempts WHERE ended_at IS NULL"):
            self.world.finish(self.world.attempts(row.job_id)[-1], EndCause.CANCELLED)
        assert all(JobState(row.state) in TERMINAL for row in self.sql("SELECT state FROM jobs"))
        assert (
            self.store.read(
                launching.take_orders, LAUNCHERS[0], stop_grace_s=1.0, now=self.world.now
            ).launches
            == ()
        )
        assert self.store.read(scheduling.launcher_loads, CLUSTER) == dict.fromkeys(LAUNCHERS, 0)


def test_jobs_keep_their_promises_whatever_happens(store: Store) -> None:
    chosen = settings(max_examples=40, stateful_step_count=35)
    with store.connection() as connection:
        run_state_machine_as_test(lambda: JobMachine(store, connection), settings=chosen)
