from __future__ import annotations

import httpx
import pytest
from cli_service import COMPLETED, FAILED, JOB, RUNNING, Run, Service

from gaelp_ray.cli.progress import eta, headline, steps
from gaelp_ray.client.models import Job
from gaelp_ray.client.wire import read


def test_a_job_is_submitted_from_its_options(gaelp: Run, service: Service) -> None:
    service.answers["POST /jobs"] = JOB | {"notices": ["Its image is not used."]}

    words = "--name run-1 --priority 8 --param epochs=10 --param lr=1e-3 --param opt=adam --param on=true"
    words += " --param bad=NaN --param layers=[1,2] --config k=v --memory 2Gi --seed 3 --timeout 60"
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
            "environment_vars": {},
            "resource_requirements": {"memory": "2Gi"},
            "seed": 3,
            "timeout_seconds": 60.0,
            "max_retries": 0,
        }
    ]


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
    assert gaelp("jobs", "events", "1", "--json").json[0]["to_state"] == "admitted"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "ETA 0:00"), (65.2, "ETA 1:05"), (3725, "ETA 1:02:05")])
def test_time_left_is_written_as_a_clock(seconds: float, text: str) -> None:
    running = RUNNING | {"progress": RUNNING["progress"] | {"eta_seconds": seconds}}

    assert eta(read(Job, running)) == text


def test_a_job_is_summed_up_by_what_matters_now() -> None:
    waiting, running, ended = (read(Job, job) for job in (JOB, RUNNING, COMPLETED))

    assert (steps(waiting), headline(waiting), eta(waiting)) == ("", "Waits for 2 CPU.", "")
    assert (steps(running), headline(running)) == ("12/40", "reward 0.5")
    assert (headline(ended), eta(ended)) == ("", "")
