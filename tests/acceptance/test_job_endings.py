"""Every way a job can end, over HTTP, on a real cluster."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.service import Service, eventually

#: id: (agent fields, job fields, status, cause, words of the message)
ENDINGS: dict[str, tuple[dict[str, Any], dict[str, Any], str, str, str]] = {
    "returns": ({}, {}, "completed", "success", ""),
    "script": ({"entrypoint": "python script.py --steps 3"}, {}, "completed", "success", ""),
    "raises": ({"entrypoint": "trainers:fail"}, {"max_retries": 0}, "failed", "user_error", "went wrong"),
    "exits": ({"entrypoint": "trainers:leave"}, {"max_retries": 0}, "failed", "user_error", "exited with 3"),
    "exits with a number past all columns": (
        {"entrypoint": "endings:leave_with_much"},
        {"max_retries": 0},
        "failed",
        "user_error",
        "exited with 2147483648",
    ),
    "claims a cause of the service": (
        {"entrypoint": "endings:claim"},
        {"max_retries": 0, "hyperparameters": {"cause": "preempted"}},
        "failed",
        "user_error",
        "what is no message",
    ),
    "answers what is no answer": (
        {"entrypoint": "endings:claim"},
        {"max_retries": 0, "hyperparameters": {"cause": "success", "result": "notadict"}},
        "failed",
        "user_error",
        "what is no message",
    ),
    "forks a process that exits": ({"entrypoint": "endings:fork"}, {}, "completed", "success", ""),
    "closes its output": ({"entrypoint": "endings:close"}, {}, "completed", "success", ""),
    "has a tuple as key": ({"entrypoint": "endings:tuple_key"}, {}, "completed", "success", ""),
    "dies of a real-time signal": (
        {"entrypoint": "endings:real_time"},
        {"max_retries": 0},
        "failed",
        "user_error",
        "SIGRTMIN+6",
    ),
    "exits hard": (
        {"entrypoint": "trainers:vanish"},
        {"max_retries": 0},
        "failed",
        "user_error",
        "exit code 7",
    ),
    "does not import": (
        {"entrypoint": "broken:train"},
        {},
        "failed",
        "misconfigured",
        "a_module_that_does_not",
    ),
    "has no such module": ({"entrypoint": "no_such:train"}, {}, "failed", "misconfigured", "no_such"),
    "has no such function": ({"entrypoint": "trainers:nope"}, {}, "failed", "misconfigured", "nope"),
    "has no such script": ({"entrypoint": "python nope.py"}, {}, "failed", "misconfigured", "nope.py"),
    "names a missing secret": ({"secrets": {"KEY": "not-there"}}, {}, "failed", "misconfigured", "not-there"),
    "runs past its timeout": (
        {"entrypoint": "trainers:sleep"},
        {"timeout_seconds": 1},
        "failed",
        "timeout",
        "limit of 1 s",
    ),
    "eats memory past its request": (
        {"entrypoint": "trainers:gorge"},
        {"max_retries": 0},
        "failed",
        "oom",
        "more than the 256 MiB",
    ),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_a_job_that(service: Service, api: httpx.Client, name: str) -> None:
    agent_fields, job_fields, status, cause, words = ENDINGS[name]
    job = service.submit(api, service.agent(api, **agent_fields), **job_fields)
    ended = service.wait(api, job)
    assert (ended["status"], ended["cause"]) == (status, cause), ended["message"]
    assert words in (ended["message"] or "")
    events = api.get(f"/jobs/{job['id']}/events").json()["items"]
    ends = [e for e in events if e["to_state"] in ("succeeded", "failed", "cancelled")]
    assert len(ends) == 1


def test_a_job_that_takes_its_worker_down_is_given_up(service: Service, api: httpx.Client) -> None:
    job = service.submit(api, service.agent(api, entrypoint="endings:kill_the_worker"))
    ended = service.wait(api, job, within_s=120)
    assert (ended["status"], ended["cause"]) == ("failed", "user_error")
    assert "was lost 5 times in a row within 30 s" in ended["message"]
    attempts = api.get(f"/jobs/{job['id']}/attempts").json()["items"]
    assert [each["cause"] for each in attempts] == ["node_lost"] * 4 + ["user_error"]


def test_a_completed_job_has_all_its_points(service: Service, api: httpx.Client) -> None:
    agent = service.agent(api, entrypoint="endings:report_fast")
    ended = service.wait(api, service.submit(api, agent, hyperparameters={"steps": 6000}))
    assert ended["status"] == "completed"
    path, steps, cursor = f"/agents/{agent['id']}/metrics", set(), None
    while True:
        query = {"job_id": ended["id"], "limit": 1000} | ({"cursor": cursor} if cursor else {})
        page = api.get(path, params=query).json()
        steps |= {point["step"] for point in page["items"]}
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert steps == set(range(6000))
    assert ended["notices"] == []


def test_the_last_words_of_a_job_that_printed_too_much_are_kept(service: Service, api: httpx.Client) -> None:
    agent = service.agent(api, entrypoint="endings:print_too_much")
    ended = service.wait(api, service.submit(api, agent, max_retries=0))
    assert ended["status"] == "failed"
    log = api.get(f"/jobs/{ended['id']}/logs", params={"tail": 5}).text
    assert log.endswith("ValueError: the reason\n")


def test_a_failure_is_retried_from_its_checkpoint_and_counted(service: Service, api: httpx.Client) -> None:
    agent = service.agent(api, entrypoint="trainers:fail_once")
    ended = service.wait(api, service.submit(api, agent))
    assert ended["status"] == "completed"
    assert (ended["failures"], ended["losses"], ended["attempt"]) == (1, 0, 2)
    attempts = api.get(f"/jobs/{ended['id']}/attempts").json()["items"]
    assert [a["cause"] for a in attempts] == ["user_error", "success"]


def test_retries_end_at_max_retries(service: Service, api: httpx.Client) -> None:
    agent = service.agent(api, entrypoint="trainers:fail")
    ended = service.wait(api, service.submit(api, agent, max_retries=1))
    assert (ended["status"], ended["attempt"], ended["failures"]) == ("failed", 2, 2)


def test_a_queued_job_is_cancelled_at_once(service: Service, api: httpx.Client) -> None:
    agent = service.agent(api, resource_requirements={"cpu": "100", "memory": "256Mi"})
    job = service.submit(api, agent)
    waiting = eventually(
        lambda: (j := service.job(api, job)) and j["waiting"]["code"] == "NoMatchingShape" and j
    )
    assert "can hold 100 CPU" in waiting["waiting"]["message"]
    cancelled = api.post(f"/jobs/{job['id']}/cancel").json()
    assert (cancelled["status"], cancelled["phase"]) == ("cancelled", "cancelled")


@pytest.mark.parametrize("entrypoint", ["trainers:wait", "trainers:sleep"])
def test_a_running_job_is_cancelled_whether_it_listens_or_not(
    service: Service, api: httpx.Client, entrypoint: str
) -> None:
    job = service.submit(api, service.agent(api, entrypoint=entrypoint))
    service.wait(api, job, "running")
    assert api.post(f"/jobs/{job['id']}/cancel").json()["phase"] == "stopping"
    ended = service.wait(api, job)
    assert (ended["status"], ended["cause"]) == ("cancelled", "cancelled")
    again = api.post(f"/jobs/{job['id']}/cancel")
    assert (again.status_code, again.json()["status"]) == (200, "cancelled")


def test_a_gpu_job_waits_with_its_reason_where_no_node_has_enough(
    service: Service, api: httpx.Client
) -> None:
    agent = service.agent(api, resource_requirements={"cpu": "1", "memory": "256Mi", "gpu": "4"})
    job = service.submit(api, agent)
    waiting = eventually(
        lambda: (j := service.job(api, job)) and j["waiting"]["code"] == "NoMatchingShape" and j
    )
    assert "4 GPU" in waiting["waiting"]["message"]
    api.post(f"/jobs/{job['id']}/cancel")


def test_gpu_jobs_take_turns_on_the_one_gpu(service: Service, api: httpx.Client) -> None:
    agent = service.agent(api, resource_requirements={"cpu": "500m", "memory": "256Mi", "gpu": "1"})
    jobs = [service.submit(api, agent, hyperparameters={"steps": 10, "pause_s": 0.1}) for _ in range(2)]
    ended = sorted((service.wait(api, job) for job in jobs), key=lambda j: j["started_at"])
    assert [j["status"] for j in ended] == ["completed", "completed"]
    assert ended[1]["started_at"] >= ended[0]["finished_at"]


def test_priority_decides_who_goes_first(service: Service, api: httpx.Client) -> None:
    gpu = {"cpu": "500m", "memory": "256Mi", "gpu": "1"}
    agent = service.agent(api, resource_requirements=gpu)
    holder = service.submit(api, agent, hyperparameters={"steps": 30, "pause_s": 0.1})
    service.wait(api, holder, "running")
    low = service.submit(api, agent, priority=2)
    high = service.submit(api, agent, priority=9)
    assert service.wait(api, high)["started_at"] < service.wait(api, low)["started_at"]
    service.wait(api, holder)


def test_a_budget_stops_a_job_to_the_micro(service: Service, api: httpx.Client) -> None:
    agent = service.agent(api, entrypoint="trainers:spend", budget_limit=3.5)
    ended = service.wait(api, service.submit(api, agent, hyperparameters={"steps": 10}))
    assert (ended["status"], ended["cause"]) == ("failed", "budget")
    assert f"0.5 left of the total limit of agent {agent['id']}, 3.5" in ended["message"]
    assert api.get(f"/agents/{agent['id']}").json()["budget_spent"] == 3.0


def test_environment_and_secrets_reach_the_job_and_nothing_of_the_service_does(
    service: Service, api: httpx.Client
) -> None:
    secret = "s3cret-value-of-a-key"
    (service.home / "secrets").mkdir(exist_ok=True)
    (service.home / "secrets" / "platform-key").write_text(secret)
    agent = service.agent(
        api,
        entrypoint="trainers:show_environment",
        environment_vars={"GREETING": "hello 'world' $HOME"},
        secrets={"API_KEY": "platform-key"},
        config={"a": 1, "b": 1},
    )
    ended = service.wait(api, service.submit(api, agent, training_config={"b": 2}))
    assert ended["result"]["greeting"] == "hello 'world' $HOME"
    assert ended["result"]["config"] == {"a": 1, "b": 2}
    names = ended["result"]["names"]
    assert "API_KEY" in names
    assert [n for n in names if n.startswith(("GAELP_", "RAY_"))] == []
    log = eventually(lambda: api.get(f"/jobs/{ended['id']}/logs").text)
    assert "the secret is [redacted]" in log
    assert secret not in log


def test_a_job_can_start_from_another_jobs_checkpoint(service: Service, api: httpx.Client) -> None:
    agent = service.agent(api)
    trained = service.wait(api, service.submit(api, agent, hyperparameters={"steps": 3}))
    reader = service.submit(
        api, agent, entrypoint="trainers:read_input", training_config={"from_job": trained["id"]}
    )
    assert service.wait(api, reader)["result"] == {"step": "3"}


def test_logs_are_followed_live_until_the_job_ends(service: Service, api: httpx.Client) -> None:
    job = service.submit(api, service.agent(api), hyperparameters={"steps": 10, "pause_s": 0.1})
    with api.stream("GET", f"/jobs/{job['id']}/logs", params={"follow": True}) as answer:
        lines = [line for line in answer.iter_lines() if line.startswith("step")]
    assert lines == [f"step {n}" for n in range(1, 11)]
    assert api.get(f"/jobs/{job['id']}/logs", params={"tail": 1}).text == "step 10\n"


def test_checkpoints_keep_the_latest_and_the_best(service: Service, api: httpx.Client) -> None:
    job = service.wait(api, service.submit(api, service.agent(api), hyperparameters={"steps": 6}))
    kept = api.get(f"/jobs/{job['id']}/checkpoints").json()["items"]
    assert [c["step"] for c in kept] == [5, 6]
    assert all(len(c["digest"]) == 64 for c in kept)


def test_a_paused_agents_jobs_wait_and_go_on_when_it_is_resumed(service: Service, api: httpx.Client) -> None:
    agent = service.agent(api)
    api.patch(f"/agents/{agent['id']}", json={"status": "paused"})
    job = service.submit(api, agent)
    eventually(
        lambda: service.job(api, job)["waiting"]["code"] == "Deactivated", what="it waits for its agent"
    )
    api.patch(f"/agents/{agent['id']}", json={"status": "active"})
    assert service.wait(api, job)["status"] == "completed"


def test_deleting_an_agent_cancels_its_jobs(service: Service, api: httpx.Client) -> None:
    agent = service.agent(api, entrypoint="trainers:wait")
    job = service.submit(api, agent)
    service.wait(api, job, "running")
    assert api.delete(f"/agents/{agent['id']}").status_code == 204
    assert service.wait(api, job)["status"] == "cancelled"
    assert api.get(f"/agents/{agent['id']}").status_code == 404
