"""Quotas, order, preemption, holds, deadlines, gangs and explanations, over HTTP, on a real cluster."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service import Service, eventually

Json = dict[str, Any]
#: Opens a user's connection, by name.
User = Callable[[], "Person"]

CPU = {"cpu": "500m", "memory": "256Mi"}
#: There is one, so jobs that want it take turns.
GPU = CPU | {"gpu": "1"}
#: More than there is.
HUGE = {"cpu": "100", "memory": "256Mi"}

_NAMES = itertools.count(1)


class Person:
    """A user with an agent of his own."""

    def __init__(self, service: Service, name: str, api: httpx.Client) -> None:
        self.service, self.name, self.api = service, name, api
        self.agent = service.agent(api)

    def submit(self, entrypoint: str = "trainers:count", **fields: Any) -> Json:
        return self.service.submit(self.api, self.agent, entrypoint=entrypoint, **fields)

    def refused(self, path: str = "/jobs", **fields: Any) -> httpx.Response:
        return self.api.post(path, json={"agent_id": self.agent["id"], **fields})

    def plan(self, **fields: Any) -> Json:
        answer = self.refused("/jobs:plan", **fields)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def job(self, job: Json) -> Json:
        return self.service.job(self.api, job)

    def ends(self, job: Json, *status: str) -> Json:
        return self.service.wait(self.api, job, *status)

    def runs(self, job: Json) -> Json:
        return self.ends(job, "running")

    def waits(self, job: Json, code: str) -> Json:
        """Until the job waits for this reason."""

        def there() -> Json | None:
            now = self.job(job)
            return now if (now["waiting"] or {}).get("code") == code else None

        found = eventually(there, what=f"job {job['id']} waits with {code}")
        assert found is not None
        return found

    def why(self, job: Json, code: str) -> Json:
        """The scheduler's explanation once it gives this reason."""

        def there() -> Json | None:
            found: Json = self.api.get(f"/jobs/{job['id']}/why").json()
            return found if found["code"] == code and found["position"] else None

        found = eventually(there, what=f"job {job['id']} is explained with {code}")
        assert found is not None
        return found

    def events(self, job: Json) -> list[str]:
        found = self.api.get(f"/jobs/{job['id']}/events").json()["items"]
        return [event["event"] for event in found]

    def cancel(self, *jobs: Json) -> None:
        self.api.post("/jobs:cancel", json={"ids": [job["id"] for job in jobs]})
        for job in jobs:
            self.ends(job)


@pytest.fixture
def user(service: Service) -> Iterator[User]:
    """Makes users; what they left waiting or running is cancelled."""
    with ExitStack() as stack:

        def make() -> Person:
            name = f"user-{time.time_ns()}-{next(_NAMES)}"
            person = Person(service, name, stack.enter_context(service.client(service.token(name))))
            stack.callback(person.api.post, "/jobs:cancel", json={"agent_id": person.agent["id"]})
            return person

        yield make


@pytest.fixture
def quota(api: httpx.Client) -> Iterator[Callable[..., None]]:
    """Sets quotas of users, which are gone afterwards."""
    with ExitStack() as stack:

        def put(person: Person, **fields: Any) -> None:
            address = f"/quotas/users/{person.name}"
            answer = api.put(address, json=fields)
            assert answer.status_code == 200, answer.text
            stack.callback(api.delete, address)

        yield put


def test_a_quota_lets_as_much_run_as_it_allows_and_says_whose_it_is(
    user: User, quota: Callable[..., None]
) -> None:
    ann = user()
    quota(ann, limit={"jobs": 1})
    first, second = ann.submit("trainers:wait"), ann.submit("trainers:wait")
    ann.runs(first)

    waiting = ann.waits(second, "WaitingForQuota")
    why = ann.why(second, "WaitingForQuota")
    usage = ann.api.get(f"/quotas/users/{ann.name}/usage").json()

    sentence = f"The quota of user {ann.name} allows 1 jobs, of which 1 is in use; this needs 1 more."
    assert waiting["waiting"]["message"] == sentence
    assert any(f"job {first['id']} ends" in each for each in why["unblock"])
    assert (usage["held"]["jobs"], usage["limit"]["jobs"], usage["waiting"]) == ("1", "1", 1)

    quota(ann, limit={"jobs": 2})
    ann.runs(second)


def test_usage_over_time_adds_up_what_attempts_held(user: User) -> None:
    ann = user()
    job = ann.submit("trainers:wait")
    started = ann.runs(job)["started_at"]
    eventually(lambda: datetime.now(UTC) - datetime.fromisoformat(started) > timedelta(seconds=1))

    span = {"resource": "jobs", "since": started, "until": datetime.now(UTC).isoformat(), "buckets": 2}
    past = ann.api.get(f"/quotas/users/{ann.name}/usage/history", params=span).json()

    assert [point["average"] for point in past["items"]] == [1.0, 1.0]


def test_what_no_quota_will_ever_allow_is_refused_at_once(user: User, quota: Callable[..., None]) -> None:
    ann = user()
    quota(ann, limit={"cpu": "1"})

    for path in ("/jobs", "/jobs:plan"):
        refused = ann.refused(path, resource_requirements=CPU | {"cpu": "2"})
        problem = refused.json()
        assert (refused.status_code, problem["code"]) == (422, "exceeds_quota")
        assert (problem["field"], problem["limit"], problem["asked"]) == ("cpu", 1000, 2000)
        assert f"user {ann.name}" in problem["detail"]
    assert ann.api.get("/jobs").json()["items"] == []


def test_quotas_are_set_by_admins_and_read_by_those_they_bind(
    user: User, quota: Callable[..., None], api: httpx.Client
) -> None:
    ann, eve = user(), user()
    quota(ann, limit={"gpu": 4, "memory": "64Gi"}, weight=2)
    address = f"/quotas/users/{ann.name}"

    mine = ann.api.get(address).json()
    assert mine["limit"] == {
        "cpu": "unlimited",
        "memory": "64Gi",
        "gpu": "4",
        "storage": "unlimited",
        "jobs": "unlimited",
    }
    assert address.endswith(ann.api.get("/quotas").json()["items"][0]["name"])
    assert ann.api.put(address, json={}).status_code == 403
    assert eve.api.get(address).status_code == 404
    bad = api.put(address, json={"limit": {"gpu": "four"}})
    assert (bad.status_code, bad.json()["field"]) == (422, "limit.gpu")


def test_a_higher_priority_given_while_it_waits_moves_a_job_forward(user: User) -> None:
    ann = user()
    holder = ann.submit("trainers:wait", resource_requirements=GPU)
    ann.runs(holder)
    first = ann.submit(resource_requirements=GPU, hyperparameters={"steps": 1})
    second = ann.submit(resource_requirements=GPU, hyperparameters={"steps": 1})
    ann.waits(second, "WaitingForCapacity")

    edited = ann.api.patch(f"/jobs/{second['id']}", json={"priority": 9})
    assert (edited.status_code, edited.json()["priority"]) == (200, 9)
    ann.cancel(holder)

    assert ann.ends(second)["finished_at"] <= ann.ends(first)["started_at"]
    late = ann.api.patch(f"/jobs/{second['id']}", json={"priority": 1})
    assert (late.status_code, late.json()["code"]) == (409, "illegal_transition")


def test_a_victim_is_told_for_whom_and_why_and_goes_on_from_its_checkpoint(user: User) -> None:
    ann, bob = user(), user()
    victim = ann.submit(
        resource_requirements=GPU, preemptible=True, hyperparameters={"steps": 60, "pause_s": 0.1}
    )
    ann.runs(victim)
    ann.service.wait_step(ann.api, victim, 12)

    winner = bob.submit(resource_requirements=GPU, priority=9, hyperparameters={"steps": 2})
    assert bob.ends(winner)["status"] == "completed"

    told = ann.api.get(f"/jobs/{victim['id']}/preemptions").json()["items"]
    assert [(each["for_job_id"], each["reason"]) for each in told] == [(winner["id"], "priority")]
    assert told[0]["message"].startswith(f"Makes room for job {winner['id']} of {bob.name} (priority 9)")
    made_room = bob.api.get(f"/jobs/{winner['id']}/preemptions").json()["victims"]
    assert [each["job_id"] for each in made_room] == [victim["id"]]

    ended = ann.ends(victim)
    assert (ended["status"], ended["preemptions"], ended["failures"], ended["losses"]) == (
        "completed",
        1,
        0,
        0,
    )
    assert ended["result"]["resumed_from"] >= 12
    assert ended["result"]["counted_to"] == 60
    assert ann.events(victim).count("succeed") == 1
    attempts = ann.api.get(f"/jobs/{victim['id']}/attempts").json()["items"]
    assert [attempt["cause"] for attempt in attempts] == ["preempted", "success"]


def test_a_plan_shows_who_would_make_room_and_makes_nobody_do_so(user: User) -> None:
    ann, bob = user(), user()
    victim = ann.submit("trainers:wait", resource_requirements=GPU, preemptible=True)
    ann.runs(victim)

    def planned() -> Json | None:
        found = bob.plan(resource_requirements=GPU, priority=9)
        return found if found["victims"] else None

    # A young attempt is left alone at first.
    found = eventually(planned, what="the plan names a victim")
    assert found is not None
    assert (found["code"], found["victims"]) == ("WaitingForPreemption", [victim["id"]])
    assert found["placement"][0]["gpus"] == [0]
    assert ann.job(victim)["phase"] == "running"
    assert bob.api.get("/jobs").json()["items"] == []


def test_a_plan_says_where_a_job_would_start_and_stores_nothing(user: User) -> None:
    ann = user()

    starts = ann.plan(resource_requirements=CPU)
    never = ann.plan(resource_requirements=HUGE)

    assert (starts["code"], starts["message"], starts["job_id"]) == (None, "It starts now.", None)
    assert len(starts["placement"]) == 1
    assert never["code"] == "NoMatchingShape"
    assert "100 CPU" in never["message"]
    assert never["unblock"]
    assert ann.api.get("/jobs").json()["items"] == []


def test_why_tells_the_place_in_line_when_it_may_begin_and_what_would_help(user: User) -> None:
    ann = user()
    holder = ann.submit(resource_requirements=GPU, hyperparameters={"steps": 300, "pause_s": 0.1})
    ann.runs(holder)
    ann.service.wait_step(ann.api, holder, 3)
    jobs = [ann.submit(resource_requirements=GPU, expected_duration_seconds=60) for _ in range(2)]

    first, second = (ann.why(job, "WaitingForCapacity") for job in jobs)

    assert second["position"] > first["position"] >= 1
    assert second["ahead_in_lane"] == first["ahead_in_lane"] + 1
    assert second["queued"] >= 2
    assert first["effective_priority"] >= first["priority"] == 5
    assert any(f"Job {holder['id']} ends at about" in each for each in first["unblock"])
    for eta in (first["eta"], second["eta"]):
        assert eta["earliest"] <= eta["starts_at"] <= eta["latest"]
    assert first["eta"]["starts_at"] < second["eta"]["starts_at"]

    shown = ann.service.gaelp("jobs", "why", str(jobs[1]["id"]))
    assert shown.returncode == 0, shown.stderr
    assert "WaitingForCapacity" in shown.stdout
    assert ann.api.get(f"/jobs/{holder['id']}/why").json()["message"] == "It runs and does not wait."


def test_a_user_on_hold_starts_nothing_until_the_hold_is_lifted(user: User) -> None:
    ann, eve = user(), user()
    address = f"/holds/user/{ann.name}"
    placed = ann.api.put(address, json={"reason": "month end"})
    assert (placed.status_code, placed.json()["mode"]) == (200, "hold")
    job = ann.submit()

    assert "month end" in ann.waits(job, "OnHold")["waiting"]["message"]
    assert [hold["name"] for hold in ann.api.get("/holds").json()["items"]] == [ann.name]
    assert eve.api.get("/holds").json()["items"] == []
    assert eve.api.put(address, json={}).status_code == 403

    assert ann.api.delete(address).status_code == 204
    assert ann.ends(job)["status"] == "completed"
    assert ann.api.delete(address).status_code == 404


def test_a_drained_agent_saves_waits_and_goes_on(user: User) -> None:
    ann = user()
    address = f"/holds/agent/{ann.agent['id']}"
    job = ann.submit(hyperparameters={"steps": 60, "pause_s": 0.1})
    ann.runs(job)
    ann.service.wait_step(ann.api, job, 3)

    ann.api.put(address, json={"mode": "hold_and_drain", "reason": "maintenance"})
    assert "maintenance" in ann.waits(job, "OnHold")["waiting"]["message"]
    told = ann.api.get(f"/jobs/{job['id']}/preemptions").json()["items"]
    assert [(each["reason"], each["for_job_id"]) for each in told] == [("drained", None)]

    ann.api.delete(address)
    ended = ann.ends(job)
    assert (ended["status"], ended["preemptions"]) == ("completed", 1)
    assert ended["result"]["resumed_from"] >= 3


@pytest.mark.parametrize(
    ("entrypoint", "resources"),
    [("trainers:count", HUGE), ("trainers:sleep", CPU)],
    ids=["waiting", "running"],
)
def test_a_job_fails_when_its_deadline_passes_while_it_is(
    user: User, entrypoint: str, resources: Json
) -> None:
    ann = user()
    deadline = datetime.now(UTC) + timedelta(seconds=5)
    job = ann.submit(entrypoint, resource_requirements=resources, deadline=deadline.isoformat())

    ended = ann.ends(job)

    assert (ended["status"], ended["cause"]) == ("failed", "deadline")
    assert datetime.fromisoformat(ended["finished_at"]) >= deadline


def test_a_deadline_in_the_past_is_refused(user: User) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    refused = user().refused(deadline=past.isoformat())
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    assert "future" in refused.json()["detail"]


def test_three_workers_start_together_and_work_together(user: User, tmp_path: Path) -> None:
    ann = user()
    job = ann.submit("gangs:sum_up", workers=3, hyperparameters={"folder": str(tmp_path), "steps": 4})

    ended = ann.ends(job)

    assert ended["status"] == "completed", ended["message"]
    assert (ended["workers"], ended["result"]["total"]) == (3, 4 * (1 + 2 + 3))
    (attempt,) = ann.api.get(f"/jobs/{job['id']}/attempts").json()["items"]
    assert (attempt["workers"], len(attempt["placement"])) == (3, 3)


def test_two_jobs_share_one_gpu(user: User) -> None:
    ann = user()
    half = CPU | {"gpu": "500m"}
    jobs = [ann.submit("trainers:wait", resource_requirements=half) for _ in range(3)]
    for job in jobs[:2]:
        ann.runs(job)
    ann.waits(jobs[2], "WaitingForCapacity")
    assert [ann.job(job)["status"] for job in jobs] == ["running", "running", "queued"]


def test_a_job_on_nodes_with_a_label_that_none_has_waits_and_says_so(user: User) -> None:
    ann = user()
    job = ann.submit(label_selector={"ray.io/accelerator-type": "in(A100, H100)"})
    message = ann.waits(job, "NoMatchingShape")["waiting"]["message"]
    assert "ray.io/accelerator-type=in(A100, H100)" in message
    assert ann.job(job)["label_selector"] == {"ray.io/accelerator-type": "in(A100, H100)"}


def test_past_the_limit_of_a_users_queue_a_submission_is_told_to_come_back(
    user: User, quota: Callable[..., None]
) -> None:
    ann, bob = user(), user()
    quota(ann, queued=2)
    jobs = [ann.submit(resource_requirements=HUGE) for _ in range(2)]

    refused = ann.refused(resource_requirements=HUGE)

    problem = refused.json()
    assert (refused.status_code, problem["code"]) == (429, "queue_full")
    assert refused.headers["retry-after"] == str(problem["retry_after_s"])
    assert (problem["limit"], problem["waiting"], problem["scope"]) == (2, 2, f"user {ann.name}")
    assert {job["id"] for job in ann.api.get("/jobs").json()["items"]} == {job["id"] for job in jobs}
    bob.submit(resource_requirements=HUGE)

    ann.cancel(jobs[0])
    ann.submit(resource_requirements=HUGE)


def test_many_jobs_are_cancelled_at_once_and_nobody_elses(user: User) -> None:
    ann, bob = user(), user()
    waiting = [ann.submit(resource_requirements=HUGE) for _ in range(3)]
    running = ann.submit("trainers:wait")
    ann.runs(running)

    strangers = bob.api.post("/jobs:cancel", json={"ids": [waiting[0]["id"]]}).json()
    some = ann.api.post("/jobs:cancel", json={"status": "queued", "limit": 2, "reason": "a new plan"}).json()
    rest = ann.api.post("/jobs:cancel", json={"agent_id": ann.agent["id"]}).json()

    assert (strangers["count"], strangers["ids"]) == (0, [])
    assert (some["ids"], some["more"]) == ([job["id"] for job in waiting[:2]], True)
    assert rest == {"count": 2, "ids": [waiting[2]["id"], running["id"]], "more": False}
    assert ann.job(waiting[0])["message"] == "a new plan"
    assert [ann.ends(job)["status"] for job in (*waiting, running)] == ["cancelled"] * 4
    assert ann.api.post("/jobs:cancel", json={"reason": "everything"}).status_code == 422


def test_operators_see_the_whole_queue_and_users_do_not(user: User, api: httpx.Client) -> None:
    ann = user()
    jobs = [ann.submit(resource_requirements=HUGE) for _ in range(3)]
    ann.waits(jobs[-1], "NoMatchingShape")

    def reported() -> Json | None:
        found: Json = api.get("/queue").json()
        return found if found["by_user"].get(ann.name) == len(jobs) else None

    report = eventually(reported, what="the report counts them")
    assert report is not None
    assert report["by_code"]["NoMatchingShape"] >= len(jobs)
    (head,) = [each for each in report["heads"] if each["owner"] == ann.name]
    assert (head["job_id"], head["waiting"]) == (jobs[0]["id"], len(jobs))
    assert ann.api.get("/queue").status_code == 403


def test_where_there_are_no_spot_nodes_nothing_was_saved(user: User) -> None:
    ann = user()
    assert ann.ends(ann.submit(spot="prefer"))["status"] == "completed"

    found = ann.api.get("/savings").json()

    assert (found["currency"], found["users"]) == ("USD", {})
    assert found["total"] == {"on_demand": 0.0, "paid": 0.0, "saved": 0.0}


def test_the_command_line_reaches_all_of_it(service: Service, user: User) -> None:
    ann = user()
    agent = str(ann.agent["id"])
    job = ann.submit(resource_requirements=HUGE)
    #: command, words of what it prints
    steps = [
        (f"quotas set user {ann.name} --limit gpu=1 --queued 5", "gpu=1"),
        ("quotas list --limit 1000 --json", ann.name),
        (f"quotas usage user {ann.name}", "1 jobs wait."),
        (f"quotas usage user {ann.name} --history gpu --buckets 2", "average GPUs"),
        (f"quotas unset user {ann.name}", "no quota"),
        (f"holds place agent {agent} --reason maintenance", "is on hold."),
        ("holds list", "maintenance"),
        (f"holds lift agent {agent}", "no more."),
        (f"jobs plan {agent} --cpu 500m --memory 256Mi", "It starts now."),
        (f"jobs edit {job['id']} --priority 7", "7"),
        ("queue", "NoMatchingShape"),
        ("savings", "saved, USD"),
        (f"jobs cancel --agent {agent} --status queued", "1 jobs are cancelled"),
    ]
    for command, words in steps:
        ran = service.gaelp(*command.split())
        assert (ran.returncode, ran.stderr) == (0, ""), command
        assert words in ran.stdout, command
