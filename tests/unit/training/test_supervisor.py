"""Every way a training process can behave, with real processes and no Ray."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import fake_link
import psutil
import pytest
from fake_link import PATIENCE_S, FakeLink, Start

from gaelp_ray.domain.attempts import Directive
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.domain.resources import Resources
from gaelp_ray.training.supervisor import Supervisor, Workplace
from tests.builders import GIB, MIB, an_order
from tests.service import eventually

ROOT = Path(__file__).parents[3]


def ended(pid: float) -> bool:
    try:
        return psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_ended(pid: float) -> None:
    eventually(lambda: ended(pid), what=f"process {pid:.0f} is gone")


def test_a_function_that_returns_has_succeeded(start: Start, link: FakeLink) -> None:
    outcome = start("jobs:succeed").outcome()
    assert (outcome.cause, outcome.message) == (EndCause.SUCCESS, "")
    assert outcome.result == {"answer": 42, "mean": 0.25, "curve": [0, 1, 2]}
    assert outcome.peak_memory_bytes is not None
    assert outcome.peak_memory_bytes > MIB
    assert link.outcomes == [outcome], "the service is told the end once"
    assert "hello from the job\n" in link.output


def test_its_reports_arrive_as_points_of_its_job(start: Start, link: FakeLink) -> None:
    start("jobs:succeed", number=4).outcome()
    assert [(p.step, p.total_steps, dict(p.values)) for p in link.points] == [
        (1, 2, {"reward": 0.5}),
        (2, 2, {"reward": 1.5}),
    ]
    assert {(p.agent_id, p.job_id, p.attempt, p.source) for p in link.points} == {(3, 7, 4, "job")}


def test_the_function_is_given_all_that_the_order_says(start: Start) -> None:
    order: dict[str, Any] = {
        "number": 2,
        "config": {"market": "eu", "nested": {"a": [1, None]}},
        "hyperparameters": {"rate": 0.1},
        "seed": 99,
    }
    assert start("jobs:show_context", **order).outcome().result == {
        "job_id": 7,
        "agent_id": 3,
        "attempt": 2,
        "config": order["config"],
        "hyperparameters": order["hyperparameters"],
        "seed": 99,
        "folder": fake_link.WORKDIR,
    }


#: id: (entry point, hyperparameters, cause, words of the message, words of the log, exit code)
ENDINGS: dict[str, tuple[str, dict[str, Any], EndCause, str, str, int | None]] = {
    "returns nothing": ("jobs:say_nothing", {}, EndCause.SUCCESS, "", "", None),
    "returns a list": ("jobs:return_a_list", {}, EndCause.SUCCESS, "", "", None),
    "raises": (
        "jobs:fail",
        {},
        EndCause.USER_ERROR,
        "ValueError: attempt 1 went wrong",
        "Traceback (most recent call last)",
        None,
    ),
    "raises with a NUL": (
        "jobs:fail_with_a_nul",
        {},
        EndCause.USER_ERROR,
        "bad byte: \ufffd",
        "bad byte",
        None,
    ),
    "exits with an error": ("jobs:leave", {"code": 3}, EndCause.USER_ERROR, "The job exited with 3.", "", 3),
    "exits with words": (
        "jobs:leave",
        {"code": "no data"},
        EndCause.USER_ERROR,
        "exited with 'no data'",
        "",
        1,
    ),
    "exits well": ("jobs:leave", {"code": 0}, EndCause.SUCCESS, "", "", None),
    "exits without a code": ("jobs:leave", {"code": None}, EndCause.SUCCESS, "", "", None),
    "leaves at once": (
        "jobs:vanish",
        {"code": 3},
        EndCause.USER_ERROR,
        "left with exit code 3 before",
        "",
        3,
    ),
    "leaves at once but well": ("jobs:vanish", {"code": 0}, EndCause.USER_ERROR, "exit code 0 before", "", 0),
    "crashes in native code": ("jobs:crash", {}, EndCause.USER_ERROR, "The process died of SIGSEGV", "", -11),
    "returns too much": ("jobs:return_too_much", {}, EndCause.SUCCESS, "", "", None),
    "reports a step past counting": (
        "jobs:report_far",
        {},
        EndCause.USER_ERROR,
        "`step` must be below 2**63",
        "",
        None,
    ),
    "does not import": (
        "broken:train",
        {},
        EndCause.MISCONFIGURED,
        "No module named 'a_module_that_does_not_exist'",
        "Traceback",
        None,
    ),
    "has no such module": (
        "no_such:train",
        {},
        EndCause.MISCONFIGURED,
        "No module named 'no_such'",
        "",
        None,
    ),
    "has no such function": ("jobs:nope", {}, EndCause.MISCONFIGURED, "has no attribute 'nope'", "", None),
    "is no function": (
        "jobs:not_a_function",
        {},
        EndCause.MISCONFIGURED,
        "not_a_function is not a function",
        "",
        None,
    ),
    "has no such script": (
        "python nope.py",
        {},
        EndCause.MISCONFIGURED,
        "there is no file 'nope.py'",
        "",
        None,
    ),
    "is a script with bad options": (
        "python train.py --y 1",
        {},
        EndCause.USER_ERROR,
        "exited with 2",
        "unrecognized arguments: --y",
        2,
    ),
    "is a script that exits": (
        "python train.py --leave 5",
        {},
        EndCause.USER_ERROR,
        "The job exited with 5",
        "",
        5,
    ),
}


@pytest.mark.parametrize("case", ENDINGS)
def test_a_job_that(start: Start, link: FakeLink, case: str) -> None:
    entrypoint, hyperparameters, cause, words, logged, exit_code = ENDINGS[case]
    outcome = start(entrypoint, hyperparameters=hyperparameters).outcome()
    assert outcome.cause is cause, outcome
    assert words in outcome.message
    assert (outcome.message == "") is (words == "")
    assert outcome.exit_code == exit_code
    assert logged in link.output


@pytest.mark.parametrize(
    ("entrypoint", "argv"),
    [
        ("python train.py --x 1", ["train.py", "--x", "1"]),
        ("train.py --x 1", ["train.py", "--x", "1"]),
        ("python3  ./train.py --x 1", ["train.py", "--x", "1"]),
        ("python train.py --x 1 --with-tool 'python 3'", ["train.py", "--x", "1", "--with-tool", "python 3"]),
        ("python train.py --x 1 --with-tool python", ["train.py", "--x", "1", "--with-tool", "python"]),
    ],
)
def test_a_script_runs_with_its_arguments_in_its_folder(
    start: Start, link: FakeLink, entrypoint: str, argv: list[str]
) -> None:
    assert start(entrypoint).outcome().cause is EndCause.SUCCESS, link.output
    assert json.loads(link.output) == argv
    assert link.values("x") == [1.0]


def test_what_no_database_holds_is_left_out_of_the_result(start: Start) -> None:
    outcome = start("jobs:return_what_json_has_not").outcome()
    assert outcome.cause is EndCause.SUCCESS
    assert outcome.result == {"loss": None, "deep": [{"worst": None}], "text": "a\ufffdb", "half": "?"}


def test_an_order_larger_than_what_a_socket_holds_arrives(start: Start) -> None:
    config = {"words": "x" * 900_000}
    outcome = start("jobs:show_context", config=config).outcome()
    assert outcome.cause is EndCause.SUCCESS
    assert outcome.result is not None
    assert outcome.result["config"] == config


def test_killed_from_outside_it_is_lost_and_not_at_fault(start: Start, link: FakeLink) -> None:
    attempt = start("jobs:wait_for_ever")
    os.kill(int(link.wait_for("pid")), signal.SIGKILL)
    outcome = attempt.outcome()
    assert (outcome.cause, outcome.exit_code) == (EndCause.NODE_LOST, -9)
    assert "killed from outside (SIGKILL)" in outcome.message


def test_past_its_time_it_is_ended(start: Start, link: FakeLink) -> None:
    outcome = start("jobs:wait_for_ever", timeout_s=0.4).outcome()
    assert outcome.cause is EndCause.TIMEOUT
    assert outcome.message == "The attempt ran past its limit of 0.4 s."
    assert "gaelp: told to stop: timeout" in link.output


def test_at_its_deadline_it_is_ended(start: Start, link: FakeLink) -> None:
    outcome = start("jobs:wait_for_ever", timeout_s=0.4, timeout_cause=EndCause.DEADLINE).outcome()
    assert outcome.cause is EndCause.DEADLINE
    assert outcome.message == "The job's deadline came after 0.4 s of this attempt."
    assert "gaelp: told to stop: deadline" in link.output


def test_it_learns_why_it_is_to_stop(start: Start, link: FakeLink) -> None:
    attempt = start("jobs:say_why", stop_grace_s=PATIENCE_S)
    link.wait_for("pid")
    link.directive = Directive(stop=EndCause.PREEMPTED)
    assert attempt.outcome().result == {"before": None, "after": "preempted"}


def test_told_to_stop_it_saves_and_leaves(start: Start, link: FakeLink) -> None:
    attempt = start("jobs:wait", stop_grace_s=PATIENCE_S)
    link.wait_for("pid")
    link.directive = Directive(stop=EndCause.CANCELLED)
    outcome = attempt.outcome()
    assert outcome.cause is EndCause.CANCELLED
    assert outcome.message == "Stopped as ordered (cancelled) after step 1."
    assert outcome.result == {"saved": True}
    assert "gaelp: told to stop: cancelled" in link.output


def test_told_to_stop_and_deaf_it_is_ended_after_its_grace(start: Start, link: FakeLink) -> None:
    attempt = start("jobs:wait_for_ever", stop_grace_s=0.1)
    pid = link.wait_for("pid")
    link.directive = Directive(stop=EndCause.PREEMPTED)
    assert attempt.outcome().cause is EndCause.PREEMPTED
    wait_until_ended(pid)


def test_a_process_that_ignores_even_sigterm_is_killed(start: Start, link: FakeLink) -> None:
    attempt = start("jobs:resist", stop_grace_s=0.1)
    pid = link.wait_for("pid")
    link.directive = Directive(stop=EndCause.CANCELLED)
    assert attempt.outcome().cause is EndCause.CANCELLED
    assert "I was asked to end" in link.output
    wait_until_ended(pid)


def test_the_first_reason_to_stop_is_the_one_that_counts(start: Start, link: FakeLink) -> None:
    link.directive = Directive(stop=EndCause.PREEMPTED)
    outcome = start("jobs:wait_for_ever", stop_grace_s=1.0, timeout_s=0.2).outcome()
    assert outcome.cause is EndCause.PREEMPTED
    assert link.output.count("told to stop") == 1


def small(mib: int) -> Resources:
    return Resources(cpu_milli=1000, memory_bytes=mib * MIB)


def test_past_the_memory_it_asked_for_it_is_ended(start: Start) -> None:
    outcome = start("jobs:take_memory", hyperparameters={"mib": 300}, resources=small(200)).outcome()
    assert outcome.cause is EndCause.OOM
    assert "more than the 200 MiB it asked for" in outcome.message
    assert outcome.peak_memory_bytes is not None
    assert outcome.peak_memory_bytes > 200 * MIB


def test_memory_that_grows_too_fast_to_be_seen_is_refused_by_the_system(start: Start) -> None:
    outcome = start("jobs:take_memory_in_one_go", resources=small(512)).outcome()
    assert outcome.cause is EndCause.OOM
    assert "could not get the memory it asked for" in outcome.message


def test_values_that_are_no_numbers_are_left_out_and_noted_once(start: Start, link: FakeLink) -> None:
    assert start("jobs:report_nan").outcome().cause is EndCause.SUCCESS
    assert [dict(p.values) for p in link.points] == [{"reward": 1.0}, {"reward": 2.0}, {"reward": 3.0}]
    assert link.output.count("gaelp: metric 'loss' is nan; such values are left out") == 1
    assert link.output.count("gaelp: metric 'ratio' is inf; such values are left out") == 1


def test_of_output_past_the_limit_the_beginning_and_the_end_are_kept(start: Start, link: FakeLink) -> None:
    limit = 50_000
    outcome = start("jobs:print_much", hyperparameters={"lines": 5000}, log_limit_bytes=limit).outcome()
    assert outcome.result == {"printed": True}
    lines = link.output.splitlines()
    assert lines[:200] == [f"line {n:06d} {'.' * 87}" for n in range(200)]
    assert lines[-200:] == [f"line {n:06d} {'.' * 87}" for n in range(4800, 5000)]
    assert "bytes are left out here; a log keeps its beginning and its end" in link.output
    assert len(link.output) < 2 * limit


def test_no_word_of_a_secret_leaves_the_process(start: Start, link: FakeLink) -> None:
    secret = "sk-live-ABCDEF123456"
    outcome = start("jobs:tell_the_secret", secrets={"API_KEY": secret}).outcome()
    assert "whole: [redacted]\n" in link.output
    assert "split: [redacted]\n" in link.output
    assert "RuntimeError: 401 for [redacted]" in link.output
    assert secret not in link.output
    assert outcome.message == "RuntimeError: 401 for [redacted]"


def test_the_process_sees_its_own_variables_and_none_of_the_services(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("GAELP_DATABASE_URL", "GAELP_JWT_SECRET", "RAY_AUTH_TOKEN", "REDIS_PASSWORD"):
        monkeypatch.setenv(name, "ours alone")
    monkeypatch.setenv("OF_THE_NODE", "for all")
    result = (
        start(
            "jobs:show_environment",
            resources=Resources(cpu_milli=3500, memory_bytes=GIB),
            environment_vars={"REGION": "eu", "OF_THE_NODE": "for it"},
            secrets={"API_KEY": "sk-live"},
        )
        .outcome()
        .result
    )
    assert result is not None
    seen = result["environment"]
    assert [name for name in seen if name.startswith(("GAELP_", "RAY_", "REDIS_"))] == []
    assert "ours alone" not in seen.values()
    assert (seen["REGION"], seen["OF_THE_NODE"], seen["API_KEY"]) == ("eu", "for it", "sk-live")
    assert seen["OMP_NUM_THREADS"] == "3"
    assert seen["TMPDIR"] == str(tmp_path / "scratch"), "what it leaves there goes with the attempt"
    assert result["imported_ray"] is False


def test_what_a_job_leaves_behind_ends_with_it(start: Start, link: FakeLink) -> None:
    assert start("jobs:leave_others_behind").outcome().cause is EndCause.SUCCESS
    wait_until_ended(link.wait_for("pid"))


def test_a_training_process_does_not_outlive_its_supervisor(tmp_path: Path) -> None:
    command = [sys.executable, fake_link.__file__, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        assert psutil.pid_exists(pid)
        supervisor.kill()
    wait_until_ended(pid)


def test_a_refused_claim_starts_nothing(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_process(*_args: object, **_kwargs: object) -> None:
        pytest.fail("A process was started without a claim.")

    monkeypatch.setattr(subprocess, "Popen", no_process)
    link = FakeLink(grants=False)
    place = Workplace(str(tmp_path), tmp_path, 10_000, {})
    assert Supervisor(an_order("jobs:succeed"), link, place).run() is None
    assert (link.claimed_from, link.outcomes, link.output) == ([None], [], "")
