"""Quotas bind from the next plan on, are counted from claims, and say what they allow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.errors import ExceedsQuota, Forbidden, InvalidInput, NotFound, QueueFull
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.domain.quotas import (
    DEFAULT_USER,
    EVERYTHING,
    NOTHING,
    UNLIMITED,
    Amounts,
    Quota,
    QuotaKind,
)
from gaelp_ray.domain.scheduling import WaitCode, plan
from gaelp_ray.services import quotas as service
from tests.builders import ADMIN, ANN, BOB, GIB, T0, World, a_node, at
from tests.conftest import Sql

USER, TEAM = QuotaKind.USER, QuotaKind.TEAM


def usage(world: World, kind: QuotaKind, name: str, by: Principal = ADMIN) -> service.QuotaUsage:
    return world.store.read(service.usage, kind, name, by=by)


def over_time(world: World, kind: QuotaKind, name: str, **asked: Any) -> list[float]:
    given = {"resource": "cpu", "since": T0, "until": at(400), "buckets": 4, "by": ADMIN} | asked
    found = world.store.read(service.usage_over_time, kind, name, now=world.now, **given)
    return [point.average for point in found]


def test_a_quota_is_read_back_as_it_was_set(world: World) -> None:
    quota = Quota(
        USER,
        "ann",
        limit=Amounts(cpu=4000, memory=8 * GIB, gpu=0, storage=UNLIMITED, jobs=3),
        team="ads",
        borrowing=NOTHING,
        lending=EVERYTHING,
        weight=2.5,
        queued=10,
    )
    stored = world.store.transact(service.put, quota, by=ADMIN, now=world.now)
    found = world.store.read(service.get, USER, "ann", by=ANN)
    assert found == stored
    assert (found.quota, found.updated_at, found.updated_by) == (quota, world.now, "root")


def test_a_user_without_a_quota_goes_by_the_default(world: World) -> None:
    world.quota(DEFAULT_USER, gpu=1000)
    found = world.store.read(service.get, USER, "ann", by=ANN)
    assert (found.quota.limit.gpu, found.updated_by) == (1000, None)


@pytest.mark.parametrize("by", [ANN, BOB])
def test_only_admins_set_quotas(world: World, by: Principal) -> None:
    with pytest.raises(Forbidden):
        world.store.transact(service.put, Quota(USER, by.user), by=by, now=world.now)
    with pytest.raises(Forbidden):
        world.store.transact(service.delete, USER, by.user, by=by, now=world.now)


BAD: dict[str, tuple[Quota, str]] = {
    "no name": (Quota(USER, ""), "name of 1 to 128"),
    "a long name": (Quota(TEAM, "x" * 129), "name of 1 to 128"),
    "a team in a team": (Quota(TEAM, "ads", team="all"), "not nested"),
    "every team": (Quota(TEAM, DEFAULT_USER), "needs a name"),
    "a team for everybody": (Quota(USER, DEFAULT_USER, team="ads"), "each member a quota of his own"),
    "no weight": (Quota(USER, "ann", weight=0), "`weight` must be above 0"),
    "a weight that is no number": (Quota(USER, "ann", weight=float("nan")), "`weight` must be above 0"),
    "fewer than no jobs": (Quota(USER, "ann", queued=-1), "`queued` must be 0 or more"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_quota_that_means_nothing_is_refused(world: World, case: str) -> None:
    quota, words = BAD[case]
    with pytest.raises(InvalidInput, match=words):
        world.store.transact(service.put, quota, by=ADMIN, now=world.now)


def test_a_user_reads_his_own_his_teams_and_the_default_quota(world: World) -> None:
    for name in ("ann", "bob", DEFAULT_USER):
        world.quota(name, team="ads" if name == "ann" else None)
    for name in ("ads", "search"):
        world.quota(name, kind=TEAM)
    page = world.store.read(service.page, by=ANN, limit=10)
    assert [(q.quota.kind, q.quota.name) for q in page] == [(TEAM, "ads"), (USER, "*"), (USER, "ann")]
    for kind, name in ((USER, "bob"), (TEAM, "search"), (TEAM, "nobody")):
        with pytest.raises(NotFound):
            world.store.read(service.get, kind, name, by=ANN)
        with pytest.raises(NotFound):
            usage(world, kind, name, by=ANN)


def test_an_admin_reads_all_of_them_page_by_page(world: World) -> None:
    for name in ("a", "b", "c"):
        world.quota(name)
    world.quota("t", kind=TEAM)
    first = world.store.read(service.page, by=ADMIN, limit=2)
    last = first[-1].quota
    rest = world.store.read(service.page, by=ADMIN, after=(last.kind, last.name), limit=10)
    assert [q.quota.name for q in first + rest] == ["t", "a", "b", "c"]
    users = world.store.read(service.page, by=ADMIN, kind=USER, limit=10)
    assert [q.quota.name for q in users] == ["a", "b", "c"]


def test_a_quota_that_is_taken_away_binds_no_more(world: World) -> None:
    world.register()
    world.quota("ann", cpu=0)
    with pytest.raises(ExceedsQuota):
        world.submit()
    world.store.transact(service.delete, USER, "ann", by=ADMIN, now=world.now)
    assert world.tick().started == frozenset()
    job = world.submit()
    assert world.tick().started == {job.id}
    with pytest.raises(NotFound):
        world.store.transact(service.delete, USER, "ann", by=ADMIN, now=world.now)


def test_a_quota_binds_from_the_next_plan_on(world: World) -> None:
    world.register()
    agent = world.agent()
    jobs = [world.submit(agent, resources={"cpu": 1}) for _ in range(3)]
    seen, lease = world.look(), world.lead()
    decided = plan(seen, world.now)
    world.quota("ann", cpu=2000)
    assert world.apply(decided, seen, lease).dropped == {job.id for job in jobs}
    assert world.tick().started == {jobs[0].id, jobs[1].id}
    assert world.job(jobs[2]).wait_code == WaitCode.WAITING_FOR_QUOTA
    world.finish(world.attempts(jobs[0])[0], EndCause.MISCONFIGURED)
    assert world.tick().started == {jobs[2].id}


def test_what_can_never_fit_is_refused_with_the_numbers(world: World, sql: Sql) -> None:
    world.quota("ann", gpu=2000)
    with pytest.raises(ExceedsQuota, match="The job can never run: The quota of user ann allows 2 gpu") as no:
        world.submit(resources={"gpu": 1}, workers=3)
    assert no.value.details == {"field": "gpu", "limit": 2000, "asked": 3000, "whose": "user ann"}
    assert sql("SELECT count(*) FROM jobs") == [(0,)]


def test_what_teammates_could_lend_may_be_asked_for(world: World) -> None:
    world.quota("ann", gpu=2000, team="ads")
    world.quota("bob", gpu=2000, team="ads")
    world.submit(resources={"gpu": 4})
    with pytest.raises(ExceedsQuota):
        world.submit(resources={"gpu": 5})
    world.quota("ads", kind=TEAM, gpu=3000)
    with pytest.raises(ExceedsQuota, match="quota of team ads allows 3 gpu"):
        world.submit(resources={"gpu": 4})


def test_usage_is_what_live_attempts_hold(world: World) -> None:
    world.nodes = (a_node(cpu=16, memory_gib=64, gpu=4),)
    world.quota("ann", cpu=10_000, team="ads")
    world.quota("bob", team="ads")
    done = world.running(by=ANN, resources={"cpu": 4})
    world.running(by=ANN, resources={"cpu": 1, "memory": "2Gi", "gpu": "500m", "storage": "1Gi"}, workers=2)
    world.running(by=BOB, resources={"cpu": 3, "memory": "1Gi"})
    world.submit(by=ANN, resources={"cpu": 9})
    world.finish(done, EndCause.SUCCESS)
    ann = Amounts(cpu=2000, memory=4 * GIB, gpu=1000, storage=2 * GIB, jobs=1)
    bob = Amounts(cpu=3000, memory=GIB, jobs=1)
    found = usage(world, USER, "ann", by=ANN)
    assert (found.held, found.waiting, found.members) == (ann, 1, {})
    assert found.quota.limit.cpu == 10_000
    team = usage(world, TEAM, "ads", by=BOB)
    assert (team.held, team.waiting, team.members) == (ann + bob, 1, {"ann": ann, "bob": bob})
    assert usage(world, USER, "carol").held == NOTHING


def test_usage_over_time_is_the_average_of_each_span(world: World) -> None:
    world.quota("ann", team="ads")
    world.wait(50)
    first = world.running(resources={"cpu": 2, "memory": "4Gi"})
    world.wait(100)
    world.finish(first, EndCause.SUCCESS)
    world.wait(50)
    world.running(resources={"cpu": 1, "memory": "1Gi"}, workers=4)
    world.wait(150)
    # 2 CPU from 50 to 150, 4 CPU from 200 to now, 350.
    assert over_time(world, USER, "ann") == [1000, 1000, 4000, 2000]
    assert over_time(world, TEAM, "ads") == [1000, 1000, 4000, 2000]
    assert over_time(world, USER, "ann", resource="jobs") == [0.5, 0.5, 1, 0.5]
    assert over_time(world, USER, "ann", resource="memory", buckets=2) == [2 * GIB, 3 * GIB]
    assert over_time(world, USER, "bob") == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"resource": "coffee"}, "`resource` must be one of cpu"),
        ({"buckets": 0}, "`buckets` must be 1 to 1000"),
        ({"buckets": 1001}, "`buckets` must be 1 to 1000"),
        ({"until": T0}, "`since` must be before `until`"),
    ],
)
def test_a_bad_question_about_the_past_is_refused(world: World, asked: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        over_time(world, USER, "ann", **asked)


def test_whether_a_user_may_hold_more_now_is_known(world: World) -> None:
    world.quota("ann", cpu=4000)
    world.running(resources={"cpu": 3})
    asked = Amounts(cpu=2000, jobs=1)
    verdict = world.store.read(service.may_hold, "ann", asked)
    assert verdict is not None
    assert (verdict.field, verdict.used, verdict.limit) == ("cpu", 3000, 4000)
    assert world.store.read(service.may_hold, "ann", Amounts(cpu=1000, jobs=1)) is None
    assert world.store.read(service.may_hold, "bob", asked) is None


def test_a_teammates_idle_quota_may_be_held(world: World) -> None:
    world.quota("ann", cpu=1000, team="ads")
    world.quota("bob", cpu=3000, team="ads")
    asked = Amounts(cpu=4000, jobs=1)
    assert world.store.read(service.may_hold, "ann", asked) is None
    world.running(by=BOB, resources={"cpu": 1})
    assert world.store.read(service.may_hold, "ann", asked) is not None


def test_a_users_part_of_the_queue_is_bounded(world: World, sql: Sql) -> None:
    world.quota("ann", queued=2)
    agent = world.agent()
    first = world.submit(agent)
    world.submit(agent)
    with pytest.raises(QueueFull, match="2 jobs of user ann wait already") as full:
        world.submit(agent)
    assert full.value.details == {"limit": 2, "waiting": 2, "scope": "user ann", "retry_after_s": 5}
    assert sql("SELECT count(*) FROM jobs") == [(2,)]
    world.submit(by=BOB)
    world.cancel(first)
    world.submit(agent)


def test_a_teams_part_of_the_queue_is_bounded(world: World) -> None:
    world.quota("ads", kind=TEAM, queued=2)
    for name in ("ann", "bob"):
        world.quota(name, team="ads")
    world.submit(by=ANN)
    world.submit(by=BOB)
    with pytest.raises(QueueFull, match="of team ads wait already"):
        world.submit(by=ANN)


def test_the_settings_limit_who_has_no_limit_of_his_own(world: World) -> None:
    world.defaults = replace(world.defaults, user_queue_limit=1)
    world.submit()
    with pytest.raises(QueueFull):
        world.submit()
    world.quota("ann", queued=2)
    world.submit()


def test_far_from_its_limit_a_long_queue_is_not_counted_again(world: World, sql: Sql) -> None:
    world.defaults = replace(world.defaults, queue_limit=100_000)
    sql("INSERT INTO queue_depth VALUES (1, 100000, :now)", now=world.now)
    with pytest.raises(QueueFull):
        world.submit()
    sql("UPDATE queue_depth SET waiting = 95000")
    world.submit()
    sql("UPDATE queue_depth SET waiting = 100000")
    world.wait(60)
    world.submit()
