"""Launchers come, go and come back; their orders and attempts are never lost."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest

from gaelp_ray.domain.attempts import Attempt
from gaelp_ray.domain.jobs import EndCause, JobState
from gaelp_ray.domain.ledger import Money
from gaelp_ray.domain.safety.policies import Attach, Attachment
from gaelp_ray.domain.safety.rewards import RewardClip
from gaelp_ray.services import launching, policies, scheduling
from gaelp_ray.services.launching import CLUSTER_GONE, LAUNCHER_DIED, Orders, StopOrder
from tests.builders import ADMIN, CLUSTER, LAUNCHER, World, resources
from tests.conftest import Sql

OTHER_CLUSTER, OTHER = "cluster-b", "cluster-b/launcher-0"


def orders(world: World, launcher: str = LAUNCHER) -> Orders:
    return world.store.read(launching.take_orders, launcher, stop_grace_s=5.0, now=world.now)


def heartbeat(world: World, launcher: str, life: uuid.UUID, *attempts: Attempt) -> bool:
    ids = [attempt.id for attempt in attempts]
    return world.store.transact(launching.heartbeat, launcher, life, attempt_ids=ids, now=world.now)


def retire_silent(world: World, *, cluster: str = OTHER_CLUSTER, silence_s: float = 60) -> int:
    return world.store.transact(
        launching.retire_silent,
        cluster=cluster,
        silence=timedelta(seconds=silence_s),
        policy=world.policy,
        now=world.now,
    )


def admitted(world: World, **fields: Any) -> Attempt:
    if not world.store.read(scheduling.launcher_loads, CLUSTER):
        world.register()
    job = world.submit(**fields)
    world.tick()
    return world.attempts(job)[-1]


def test_an_order_says_all_that_a_worker_needs(world: World) -> None:
    agent = world.agent(
        config={"market": "eu", "rate": 1},
        requirements=("torch",),
        docker_image="gaelp/optimizer:v2",
        working_dir="/srv/code",
        environment_vars={"A": "version", "B": "version"},
        secrets={"API_KEY": "ads-key"},
        resources=resources(2, 4, 1),
        limit_micros=7,
        entrypoint="train:main",
    )
    world.nodes = (world.nodes[0].__class__("gpu-node", resources(8, 32, 1)),)
    attempt = admitted(
        world,
        agent=agent,
        training_config={"rate": 2},
        environment_vars={"B": "job"},
        hyperparameters={"x": 1},
        seed=9,
        timeout_s=60.0,
    )
    [order] = orders(world).launches
    assert (order.attempt_id, order.job_id, order.agent_id) == (attempt.id, attempt.job_id, agent.id)
    assert (order.token, order.number, order.node_id) == (str(world.token(attempt.id)), 1, "gpu-node")
    assert (order.entrypoint, order.seed, order.timeout_s) == ("train:main", 9, 60.0)
    assert (order.config, order.hyperparameters) == ({"market": "eu", "rate": 2}, {"x": 1})
    assert order.environment_vars == {"A": "version", "B": "job"}
    assert (order.secrets, order.requirements) == ({"API_KEY": "ads-key"}, ("torch",))
    assert (order.docker_image, order.working_dir) == ("gaelp/optimizer:v2", "/srv/code")
    assert (order.resources, order.stop_grace_s) == (resources(2, 4, 1), 5.0)
    assert (order.money, order.currency, order.account_ids) == (Money.SIMULATED, "USD", (agent.account_id,))
    assert (order.resume_from, order.input_checkpoint) == (None, None)


def test_an_order_is_for_its_launcher_alone_and_stays_until_it_is_delivered(world: World) -> None:
    attempt = admitted(world)
    assert orders(world, OTHER) == Orders()
    assert orders(world) == orders(world)
    delivered = world.carry_out()
    assert [o.attempt_id for o in delivered.launches] == [attempt.id]
    assert world.job(attempt.job_id).state is JobState.STARTING
    assert orders(world) == Orders()


def test_a_repeated_delivery_changes_nothing(world: World) -> None:
    attempt = admitted(world)
    seen = orders(world)
    assert world.claim(attempt)
    for _ in range(2):
        world.store.transact(
            launching.deliver, seen, launched=[attempt.id], incarnation=world.life, now=world.now
        )
    assert world.job(attempt.job_id).state is JobState.RUNNING


def test_what_is_claimed_already_is_not_launched_again(world: World) -> None:
    attempt = admitted(world)
    assert world.claim(attempt)
    again = orders(world)
    assert (len(again.ids), again.launches, again.stops) == (1, (), ())


def test_a_stop_order_says_why(world: World) -> None:
    attempt = admitted(world)
    world.carry_out()
    world.cancel(attempt.job_id)
    assert orders(world).stops == (StopOrder(attempt.id, EndCause.CANCELLED),)
    world.finish(attempt, EndCause.CANCELLED)
    assert orders(world).ids == ()


def test_an_evaluation_is_given_the_latest_checkpoint_of_the_job_it_names(world: World) -> None:
    trained = admitted(world)
    assert world.claim(trained)
    world.save_checkpoint(trained, 7)
    world.carry_out()
    admitted(world, training_config={"from_job": trained.job_id})
    [order] = orders(world).launches
    assert order.input_checkpoint is not None
    assert (order.input_checkpoint.step, order.resume_from) == (7, None)


def test_a_new_life_loses_the_attempts_of_the_last(world: World) -> None:
    running, launched, untouched = admitted(world), admitted(world), admitted(world)
    world.store.transact(
        launching.deliver,
        Orders(ids=()),
        launched=[launched.id],
        incarnation=world.life,
        now=world.now,
    )
    assert world.claim(running)
    assert world.register() == 2
    for attempt in (running, launched):
        job = world.job(attempt.job_id)
        assert (job.state, job.losses, job.failures) == (JobState.QUEUED, 1, 0)
        assert (job.cause, job.message) == (EndCause.NODE_LOST, LAUNCHER_DIED)
    assert world.job(untouched.job_id).state is JobState.ADMITTED, "it was never handed to Ray"
    assert [o.attempt_id for o in orders(world).launches] == [untouched.id]
    assert world.register() == 0


def test_other_launchers_attempts_are_untouched_by_a_new_life(world: World) -> None:
    attempt = admitted(world)
    assert world.claim(attempt)
    assert world.register("cluster-a/launcher-1") == 0
    assert world.job(attempt.job_id).state is JobState.RUNNING


def test_what_its_last_life_had_ended_is_not_lost_again(world: World) -> None:
    attempt = world.running()
    world.finish(attempt, EndCause.SUCCESS)
    assert world.register() == 0
    assert world.job(attempt.job_id).state is JobState.SUCCEEDED


def test_loads_are_the_live_attempts_of_each_launcher_of_a_cluster(world: World) -> None:
    world.register()
    world.register("cluster-a/launcher-1")
    world.register(OTHER, cluster=OTHER_CLUSTER)
    attempts = [admitted(world) for _ in range(3)]
    loads = world.store.read(scheduling.launcher_loads, CLUSTER)
    assert loads == {LAUNCHER: 2, "cluster-a/launcher-1": 1}
    world.finish(attempts[0], EndCause.SUCCESS) if world.claim(attempts[0]) else None
    assert sum(world.store.read(scheduling.launcher_loads, CLUSTER).values()) == 2


def test_a_heartbeat_keeps_a_launcher_and_its_attempts(world: World) -> None:
    attempt = world.running()
    world.wait(59)
    assert heartbeat(world, LAUNCHER, world.life, attempt)
    assert world.attempts(attempt.job_id)[0].last_seen_at == world.now
    world.wait(59)
    assert retire_silent(world) == 0


def test_the_attempts_of_a_silent_cluster_are_taken_over(world: World) -> None:
    running, waiting = admitted(world), admitted(world)
    assert world.claim(running)
    life = world.life
    world.wait(61)
    assert retire_silent(world) == 2
    for attempt in (running, waiting):
        assert world.job(attempt.job_id).state is JobState.QUEUED
        assert world.job(attempt.job_id).message == CLUSTER_GONE
    assert not heartbeat(world, LAUNCHER, life), "it must stop its tasks"
    assert not world.claim(waiting), "its tasks may begin nothing more"
    assert world.store.read(scheduling.launcher_loads, CLUSTER) == {}
    assert retire_silent(world) == 0


def test_a_launcher_of_the_own_cluster_is_never_retired_for_its_silence(world: World) -> None:
    attempt = world.running()
    world.wait(100_000)
    assert retire_silent(world, cluster=CLUSTER) == 0
    assert world.job(attempt.job_id).state is JobState.RUNNING


def test_a_retired_launcher_may_begin_a_new_life(world: World) -> None:
    world.register()
    world.wait(61)
    retire_silent(world)
    world.register()
    assert heartbeat(world, LAUNCHER, world.life)
    assert world.store.read(scheduling.launcher_loads, CLUSTER) == {LAUNCHER: 0}


def test_an_earlier_life_is_told_that_it_is_over(world: World) -> None:
    world.register()
    earlier = world.life
    world.register()
    assert not heartbeat(world, LAUNCHER, earlier)


@pytest.mark.parametrize("count", [launching.BATCH - 1, launching.BATCH, launching.BATCH + 1])
def test_orders_come_in_batches_oldest_first(world: World, sql: Sql, count: int) -> None:
    attempt = admitted(world)
    sql(
        "INSERT INTO outbox (launcher, kind, attempt_id, created_at) "
        "SELECT launcher, 'stop', attempt_id, created_at FROM outbox, generate_series(2, :count)",
        count=count,
    )
    first = orders(world)
    assert len(first.ids) == min(count, launching.BATCH)
    assert first.ids == tuple(sorted(first.ids))
    assert first.launches[0].attempt_id == attempt.id


def test_an_order_says_what_rewards_are_cut_to(world: World) -> None:
    world.register()
    agent = world.agent()
    rules = [{"rule": "reward_clip", "low": -1.0, "high": 1.0}, {"rule": "bid_cap", "max_micros": 5}]
    document = {"currency": "USD", "rules": rules}
    world.store.transact(policies.write, "rewards", document, by=ADMIN, now=world.now)
    to = Attachment(Attach.TYPE, "simulation")
    world.store.transact(policies.attach, "rewards", None, to, by=ADMIN, now=world.now)
    admitted(world, agent=agent)
    [order] = orders(world).launches
    assert order.reward_clips == (RewardClip(low=-1.0, high=1.0),)
