"""What is answered about waiting jobs, whether the scheduler speaks or not."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from asgi import Http
from ray.exceptions import RayActorError

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.errors import Unavailable
from gaelp_ray.domain.jobs import EndCause, Job, JobState
from gaelp_ray.domain.scheduling import plan
from gaelp_ray.domain.scheduling.explain import explain, report
from serve_app import auth
from serve_app import context as contexts
from serve_app.app import create_app
from serve_app.context import ApiContext
from tests.builders import T0, a_claim, a_job, a_node, a_snapshot, at

ADMIN = Principal("root", admin=True)
ANN = Principal("ann")

Scheduler = Callable[..., Any]


def a_row(**fields: Any) -> Job:
    """Ann's job 1 as the database has it, waiting unless said otherwise."""
    unknown = dict.fromkeys(each.name for each in dataclasses.fields(Job))
    waiting: dict[str, Any] = {
        "id": 1,
        "owner": "ann",
        "state": JobState.QUEUED,
        "priority": 5,
        "submitted_at": T0,
    }
    return Job(**unknown | waiting | fields)


class Replica:
    """An API replica with one job, in front of a scheduler that is a function."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, scheduler: Scheduler, *rows: Job, by: Principal
    ) -> None:
        self.asked: list[tuple[Any, ...]] = []
        left = list(rows)

        async def ask(question: str, *about: Any) -> Any:
            self.asked.append((question, *about))
            return scheduler(question, *about)

        async def get(_job_id: int) -> Job:
            return left.pop(0) if len(left) > 1 else left[0]

        jobs = SimpleNamespace(get=get)
        monkeypatch.setattr(contexts, "_context", SimpleNamespace(jobs=jobs, ask_scheduler=ask))
        monkeypatch.setattr(auth, "authenticate", lambda _token: by)
        self.http = Http(create_app(body_limit_bytes=10_000))

    def get(self, path: str) -> Any:
        return self.http.get(f"/api/v1{path}", headers={"Authorization": "Bearer any"})


@pytest.fixture
def replica(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Replica]:
    def build(scheduler: Scheduler, *rows: Job, by: Principal = ANN) -> Replica:
        return Replica(monkeypatch, scheduler, *rows, by=by)

    return build


def silent(*_: Any) -> Any:
    raise Unavailable("The scheduler does not answer.")


def never(*_: Any) -> Any:
    pytest.fail("the scheduler need not be asked")


def planned(question: str, *about: Any) -> Any:
    """A scheduler with one full node and two jobs that wait, one of them the newest."""
    holder = a_claim(cpu=4, job=9, owner="eve", expected_end=at(600), latest_end=at(1200))
    waiting = a_job(1, cpu=4, submitted_s=-10), a_job(2, owner="bob", submitted_s=-5)
    snapshot = a_snapshot(*waiting, nodes=[a_node(cpu=4)], claims=[holder])
    made = plan(snapshot, T0)
    if question == "queue_report":
        return report(snapshot, made, T0, limit=about[0])
    return explain(snapshot, made, about[0], T0)


def test_a_waiting_job_is_explained_by_the_scheduler(replica: Callable[..., Replica]) -> None:
    api = replica(planned, a_row())

    told = api.get("/jobs/1/why").json()

    assert api.asked == [("why", 1)]
    assert (told["job_id"], told["phase"], told["code"]) == (1, "queued", "WaitingForCapacity")
    assert told["queued"] == 2
    assert told["eta"]["starts_at"] == at(600).isoformat().replace("+00:00", "Z")
    assert any("Job 9 ends" in sentence for sentence in told["unblock"])


def test_without_an_answer_the_stored_reason_is_told_and_that_it_is_one(
    replica: Callable[..., Replica],
) -> None:
    row = a_row(wait_code="WaitingForQuota", wait_message="The quota of user ann allows 1 gpu.")

    answer = replica(silent, row).get("/jobs/1/why")

    told = answer.json()
    assert answer.status_code == 200
    assert told["code"] == "WaitingForQuota"
    assert told["message"].startswith("The quota of user ann allows 1 gpu. ")
    assert "did not answer in time" in told["message"]
    assert [told[name] for name in ("position", "queued", "share", "eta", "placement")] == [None] * 5


def test_a_job_the_last_plan_did_not_see_has_not_been_looked_at(replica: Callable[..., Replica]) -> None:
    told = replica(lambda *_: None, a_row()).get("/jobs/1/why").json()

    assert told["code"] == "PendingEvaluation"
    assert "did not answer" not in told["message"]


def test_a_job_that_started_while_the_scheduler_was_asked_is_told_as_it_is_now(
    replica: Callable[..., Replica],
) -> None:
    rows = (a_row(), a_row(state=JobState.RUNNING, started_at=T0))

    told = replica(lambda *_: None, *rows).get("/jobs/1/why").json()

    assert (told["phase"], told["code"], told["message"]) == ("running", None, "It runs and does not wait.")


STANDING: dict[str, tuple[dict[str, Any], str | None, str]] = {
    "running": ({"state": JobState.RUNNING}, None, "It runs"),
    "making room": ({"state": JobState.PREEMPTING}, None, "told to make room"),
    "stopping": ({"state": JobState.STOPPING}, None, "told to stop"),
    "starting": ({"state": JobState.STARTING}, "Starting", "being started"),
    "backing off": (
        {"state": JobState.BACKOFF, "not_before": at(60)},
        "BackingOff",
        "before its next attempt",
    ),
    "ended": (
        {"state": JobState.FAILED, "cause": EndCause.TIMEOUT, "finished_at": T0},
        None,
        "ended (timeout)",
    ),
}


@pytest.mark.parametrize("case", STANDING)
def test_a_job_that_the_planner_does_not_hold_back_is_told_without_asking_it(
    replica: Callable[..., Replica], case: str
) -> None:
    fields, code, words = STANDING[case]

    told = replica(never, a_row(**fields)).get("/jobs/1/why").json()

    assert told["code"] == code
    assert words in told["message"]
    assert told["unblock"] == []


def test_a_strangers_job_is_not_explained(replica: Callable[..., Replica]) -> None:
    assert replica(never, a_row(), by=Principal("eve")).get("/jobs/1/why").status_code == 404


def test_the_queue_is_reported_to_admins_alone(replica: Callable[..., Replica]) -> None:
    assert replica(never, a_row()).get("/queue").status_code == 403

    told = replica(planned, a_row(), by=ADMIN).get("/queue?limit=1").json()

    assert told["waiting"] == 2
    assert told["by_code"] == {"WaitingForCapacity": 2}
    assert [head["job_id"] for head in told["heads"]] == [1]
    assert told["heads"][0]["waiting"] == 1


def test_the_queue_cannot_be_told_without_the_scheduler(replica: Callable[..., Replica]) -> None:
    answer = replica(silent, a_row(), by=ADMIN).get("/queue")

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


class Actor:
    """A scheduler's handle whose method ``why`` answers with what it is given."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self.why = SimpleNamespace(remote=lambda _job_id: answer())


def ask(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Any]) -> Any:
    monkeypatch.setattr(contexts, "PATIENCE_S", 0.01)
    api = ApiContext.__new__(ApiContext)
    api.actors = SimpleNamespace(scheduler=Actor(answer))  # type: ignore[assignment]
    return asyncio.run(api.ask_scheduler("why", 1))


async def slow() -> None:
    await asyncio.Event().wait()


async def dead() -> None:
    raise RayActorError


async def quick() -> str:
    return "because"


def test_a_scheduler_that_answers_is_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(monkeypatch, quick) == "because"


@pytest.mark.parametrize("answer", [slow, dead], ids=["is slow", "is dead"])
def test_a_scheduler_is_unavailable_that(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Any]) -> None:
    with pytest.raises(Unavailable, match="ask again"):
        ask(monkeypatch, answer)
