from __future__ import annotations

import httpx
import pytest
from cli_service import COMPLETED, FAILED, JOB, RUNNING, WHY, Run, Service

from gaelp_ray.cli.progress import eta, headline, steps
from gaelp_ray.client.models import Job
from gaelp_ray.client.wire import read


def test_a_job_is_submitted_from_its_options(gaelp: Run, service: Service) -> None:
    service.answers["POST /jobs"] = JOB | {"notices": ["Its image is not used."]}

    words = "--name run-1 --priority 8 --param epochs=10 --param lr=1e-3 --param opt=adam --param on=true"
    words += " --param bad=NaN --param layers=[1,2] --config k=v --memory 2Gi --seed 3 --timeout 60"
    words += " --workers 3 --label ray.io/accelerator-type=A100 --spot only --preemptible --expect 90"
    words += " --deadline 2030-01-31T18:00:00Z"
    ran = gaelp("jobs", "submit", "7", *words.split(), "--max-retries", "0")

    assert "gaelp jobs watch 1" in ran.out
    assert "Its image is not used." in ran.out
    assert service.sent("POST /jobs") == [
        {
            "agent_id": 7,
            "name": "run-1",
            "priority": 8,
            "hyperparameters": {
                "epochs": 10,
                "lr": 0.001,
                "opt": "adam",
                "on": True,
                "bad": "NaN",
                "layers": [1, 2],
            },
            "training_config": {"k": "v"},
            "resource_requirements": {"memory": "2Gi"},
            "workers": 3,
            "label_selector": {"ray.io/accelerator-type": "A100"},
            "spot": "only",
            "preemptible": True,
            "deadline": "2030-01-31T18:00:00+00:00",
            "expected_duration_seconds": 90.0,
            "seed": 3,
            "timeout_seconds": 60.0,
            "max_retries": 0,
        }
    ]


def test_a_job_of_which_nothing_is_said_is_as_the_service_says(gaelp: Run, service: Service) -> None:
    service.answers["POST /jobs"] = JOB

    gaelp("jobs", "submit", "7")

    assert service.sent("POST /jobs") == [{"agent_id": 7}]


def test_a_job_that_is_watched_to_a_good_end_is_exit_code_0(gaelp: Run, service: Service) -> None:
    service.answers["POST /jobs"] = JOB
    service.answers["GET /jobs/1"] = [JOB, RUNNING, RUNNING, COMPLETED]

    ran = gaelp("jobs", "submit", "7", "--watch", "--json")

    assert ran.code == 0
    assert ran.json["result"] == {"final_reward": 1.0}
    assert "succeeded" in ran.err


def test_a_job_that_fails_while_watched_is_exit_code_1_and_says_why(gaelp: Run, service: Service) -> None:
    service.answers["GET /jobs/1"] = [RUNNING, FAILED]

    ran = gaelp("jobs", "watch", "1")

    assert ran.code == 1
    assert ran.err.splitlines()[-1] == "Job 1 failed: ValueError: no such epoch"


def test_jobs_are_listed_with_why_they_wait(gaelp: Run, service: Service) -> None:
    service.answers["GET /jobs"] = {"items": [JOB, RUNNING | {"id": 2}, FAILED | {"id": 3}]}

    ran = gaelp("jobs", "list", "--agent", "7", "--status", "queued", "--phase", "backoff", "--priority", "5")

    assert "WaitingForCapacity: Waits for 2 CPU." in ran.out
    assert "12/40" in ran.out
    assert "ValueError: no such epoch" in ran.out
    assert dict(service.requests[0].url.params) == {
        "agent_id": "7",
        "status": "queued",
        "phase": "backoff",
        "priority": "5",
        "limit": "50",
    }


def test_a_job_is_shown(gaelp: Run, service: Service) -> None:
    service.answers["GET /jobs/1"] = RUNNING

    assert "reward=0.5, spend=150" in gaelp("jobs", "show", "1").out
    assert gaelp("jobs", "show", "1", "--json").json["progress"]["step"] == 12


def test_a_plan_takes_the_options_of_a_submission_and_submits_nothing(gaelp: Run, service: Service) -> None:
    service.answers["POST /jobs:plan"] = WHY | {"job_id": None}

    ran = gaelp("jobs", "plan", "7", "--gpu", "1", "--priority", "8")

    assert "WaitingForCapacity: Waits for 2 CPU." in ran.out
    assert service.sent("POST /jobs:plan") == [
        {"agent_id": 7, "priority": 8, "resource_requirements": {"gpu": "1"}}
    ]
    assert service.sent("POST /jobs") == []


def test_a_job_that_would_start_shows_where_and_at_whose_cost(gaelp: Run, service: Service) -> None:
    service.answers["POST /jobs:plan"] = {
        "code": None,
        "message": "It starts now.",
        "placement": [{"node_id": "node-a", "resources": {"cpu": "1"}, "gpus": []}],
        "victims": [4, 9],
        "cost": {"booked_micros": 0, "expected_micros": 1_500_000, "expected_p90_micros": 2_000_001},
    }

    ran = gaelp("jobs", "plan", "7")

    assert "It starts now." in ran.out
    assert "node-a" in ran.out
    assert "job 4, job 9" in ran.out
    assert "1.5 expected, 2.000001 at the 90th percentile" in ran.out


def test_why_shows_the_place_in_line_the_time_and_what_would_help(gaelp: Run, service: Service) -> None:
    service.answers["GET /jobs/1/why"] = WHY
    service.answers["GET /jobs/1/preemptions"] = {
        "items": [
            {"job_id": 1, "for_job_id": 8, "reason": "priority", "message": "Job 8 of bob needs its node."}
        ],
        "victims": [],
    }

    ran = gaelp("jobs", "why", "1")

    assert "WaitingForCapacity: Waits for 2 CPU." in ran.out
    assert "3 of 17" in ran.out
    assert "5, by waiting 6" in ran.out
    assert "between" in ran.out
    assert "Job 4 ends at about noon." in ran.out
    assert "Job 8 of bob needs its node." in ran.out
    assert gaelp("jobs", "why", "1", "--json").json["eta"]["latest"] == "2026-01-02T05:00:00+00:00"


def test_a_waiting_job_is_edited_by_what_is_given(gaelp: Run, service: Service) -> None:
    service.answers["PATCH /jobs/1"] = JOB | {"priority": 9}

    assert gaelp("jobs", "edit", "1", "--priority", "9", "--no-deadline", "--no-preemptible").code == 0
    assert gaelp("jobs", "edit", "1", "--timeout", "5").code == 0
    assert service.sent("PATCH /jobs/1") == [
        {"priority": 9, "preemptible": False, "deadline": None},
        {"timeout_seconds": 5.0},
    ]


def test_what_was_said_of_a_job_is_cleared_and_not_given_at_the_same_time(
    gaelp: Run, service: Service
) -> None:
    service.answers["PATCH /jobs/1"] = JOB

    cleared = ("deadline", "timeout", "max-retries", "expect")
    assert gaelp("jobs", "edit", "1", *(word for each in cleared for word in ("--clear", each))).code == 0
    refused = gaelp("jobs", "edit", "1", "--clear", "timeout", "--timeout", "5")
    assert refused.code != 0
    assert "timeout_seconds is given and cleared" in refused.err
    names = ("deadline", "timeout_seconds", "max_retries", "expected_duration_seconds")
    assert service.sent("PATCH /jobs/1") == [dict.fromkeys(names)]


CANCELLED: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {
    "by ids": (("1", "2"), {"ids": [1, 2]}),
    "by agent and status": (("--agent", "7", "--status", "queued"), {"agent_id": 7, "status": "queued"}),
    "one with a reason": (("1", "--reason", "old"), {"ids": [1], "reason": "old"}),
    "by priority and owner": (("--priority", "1", "--owner", "bob"), {"priority": 1, "owner": "bob"}),
}


@pytest.mark.parametrize("case", CANCELLED)
def test_many_jobs_are_cancelled_at_once(gaelp: Run, service: Service, case: str) -> None:
    words, wanted = CANCELLED[case]
    service.answers["POST /jobs:cancel"] = {"count": 2, "ids": [1, 2], "more": True}

    ran = gaelp("jobs", "cancel", *words)

    assert ran.out == "2 jobs are cancelled or told to stop. There are more; run it again.\n"
    assert service.sent("POST /jobs:cancel") == [wanted | {"limit": 1000}]


def test_a_job_is_cancelled(gaelp: Run, service: Service) -> None:
    service.answers["POST /jobs/1/cancel"] = RUNNING | {"phase": "stopping"}

    assert gaelp("jobs", "cancel", "1").out == "Job 1 is stopping.\n"


@pytest.mark.parametrize("text", ["epoch 1\n", "no newline", "[bold] is no markup\n"])
def test_a_log_is_printed_as_it_is(gaelp: Run, service: Service, text: str) -> None:
    service.answers["GET /jobs/1/logs"] = httpx.Response(200, text=text)

    assert gaelp("jobs", "logs", "1", "-f", "--tail", "5", "--attempt", "2").out == text
    assert str(service.requests[0].url).endswith("?attempt=2&tail=5&follow=true")


def test_the_history_of_a_job_is_listed(gaelp: Run, service: Service) -> None:
    event = {
        "id": 3,
        "event": "admit",
        "from_state": "queued",
        "to_state": "admitted",
        "message": "On node a.",
    }
    service.answers["GET /jobs/1/events"] = {"items": [event]}

    assert "On node a." in gaelp("jobs", "events", "1").out
    assert gaelp("jobs", "events", "1", "--json").json["items"][0]["to_state"] == "admitted"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "ETA 0:00"), (65.2, "ETA 1:05"), (3725, "ETA 1:02:05")])
def test_time_left_is_written_as_a_clock(seconds: float, text: str) -> None:
    running = RUNNING | {"progress": RUNNING["progress"] | {"eta_seconds": seconds}}

    assert eta(read(Job, running)) == text


def test_a_job_is_summed_up_by_what_matters_now() -> None:
    waiting, running, ended = (read(Job, job) for job in (JOB, RUNNING, COMPLETED))

    assert (steps(waiting), headline(waiting), eta(waiting)) == ("", "Waits for 2 CPU.", "")
    assert (steps(running), headline(running)) == ("12/40", "reward 0.5")
    assert (headline(ended), eta(ended)) == ("", "")
