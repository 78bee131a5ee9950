from __future__ import annotations

from typing import Any

import httpx
import pytest
from cli_service import AGENT, COMPLETED, FAILED, JOB, RUNNING, Run, Service, problem

from gaelp_ray.cli import demo
from gaelp_ray.domain.money import MICROS_PER_UNIT
from gaelp_ray.training.environments.config import AuctionConfig

RESULT = {
    "days": 100,
    "reward": 130.25,
    "baseline_bid": 0.41,
    "baseline_reward": 120.5,
    "difference": 9.75,
    "lower": 6.5,
    "upper": 13.0,
    "beats_baseline": True,
}
EVALUATED = COMPLETED | {"id": 2, "result": RESULT}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done to this machine; ``up`` in it means that the service was up before."""
    done: list[str] = []
    monkeypatch.setattr(demo.local, "is_ours", lambda _: "up" in done)
    monkeypatch.setattr(demo.local, "start", lambda _: done.append("start"))
    monkeypatch.setattr(demo.local, "stop", lambda _: done.append("stop"))
    return done


@pytest.fixture
def market(service: Service) -> Service:
    """A service on which all goes well."""

    def submitted(request: httpx.Request) -> httpx.Response:
        evaluation = b"evaluate_job" in request.content
        return httpx.Response(201, json=JOB | {"id": 2 if evaluation else 1})

    service.answers |= {
        "POST /agents": AGENT,
        "GET /agents/7": AGENT,
        "POST /jobs": submitted,
        "POST /jobs/1/cancel": RUNNING,
        "GET /jobs/1": [JOB, RUNNING, COMPLETED],
        "GET /jobs/2": [JOB | {"id": 2}, EVALUATED],
    }
    return service


def test_the_demo_starts_trains_evaluates_shows_and_stops(
    gaelp: Run, market: Service, machine: list[str]
) -> None:
    ran = gaelp("demo", "--epochs", "10", "--seed", "3")

    assert ran.code == 0
    assert machine == ["start", "stop"]
    (agent,) = market.sent("POST /agents")
    assert (agent["name"], agent["type"], agent["budget_limit"]) == ("demo-bidder-1", "simulation", 1500.0)
    training, evaluation = market.sent("POST /jobs")
    assert training["entrypoint"] == "gaelp_ray.training.trainers.evolution:train"
    assert (training["hyperparameters"], training["seed"]) == ({"epochs": 10}, 3)
    assert evaluation["entrypoint"] == "gaelp_ray.training.evaluation:evaluate_job"
    assert evaluation["training_config"] == {"from_job": 1}
    assert "+6.50 to +13.00" in ran.out
    assert "spent 1,234.50 / 6,000.00" in ran.err


def test_the_addresses_are_printed_whole(gaelp: Run, market: Service, machine: list[str]) -> None:
    ran = gaelp("demo")

    for link in (
        "http://127.0.0.1:8000/docs",
        "http://127.0.0.1:8000/live/7#token=local-token",
        "http://127.0.0.1:8265",
        "http://127.0.0.1:8080/metrics",
    ):
        assert any(line.endswith(f" {link}") for line in ran.out.splitlines())


def test_an_agent_that_is_not_better_is_exit_code_1(gaelp: Run, market: Service, machine: list[str]) -> None:
    market.answers["GET /jobs/2"] = EVALUATED | {"result": RESULT | {"beats_baseline": False, "lower": -1.0}}

    assert gaelp("demo").code == 1
    assert machine == ["start", "stop"]


def test_what_was_up_before_stays_up(gaelp: Run, market: Service, machine: list[str]) -> None:
    machine.append("up")

    assert gaelp("demo").code == 0
    assert machine == ["up"]


def test_keep_leaves_it_up(gaelp: Run, market: Service, machine: list[str]) -> None:
    assert gaelp("demo", "--keep").code == 0
    assert machine == ["start"]


def test_names_of_earlier_demos_are_passed_over(gaelp: Run, market: Service, machine: list[str]) -> None:
    taken = problem("conflict", "You have it already.", 409)
    market.answers["POST /agents"] = [taken, taken, httpx.Response(201, json=AGENT)]

    assert gaelp("demo").code == 0
    assert [agent["name"] for agent in market.sent("POST /agents")][-1] == "demo-bidder-3"


def test_a_training_that_fails_ends_the_demo_with_its_log(
    gaelp: Run, market: Service, machine: list[str]
) -> None:
    market.answers["GET /jobs/1"] = [RUNNING, FAILED]
    market.answers["GET /jobs/1/logs"] = httpx.Response(200, text="Traceback: no such epoch\n")

    ran = gaelp("demo")

    assert ran.code == 1
    assert "Traceback: no such epoch" in ran.err
    assert "Job 1 (run-1) failed" in ran.err.splitlines()[-1]
    assert machine == ["start", "stop"]


@pytest.mark.parametrize(("words", "stopped"), [((), True), (("--keep",), False)])
def test_ctrl_c_cancels_the_job_and_stops_the_service(
    gaelp: Run, market: Service, machine: list[str], words: tuple[str, ...], stopped: bool
) -> None:
    def interrupt(_: httpx.Request) -> Any:
        raise KeyboardInterrupt

    market.answers["GET /jobs/1"] = interrupt

    assert gaelp("demo", *words).code == 130
    assert len(market.sent("POST /jobs/1/cancel")) == int(stopped)
    assert ("stop" in machine) is stopped


def test_ctrl_c_while_starting_stops_what_came_up(
    gaelp: Run, service: Service, machine: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo.local, "start", interrupted)

    assert gaelp("demo").code == 130
    assert machine == ["stop"]


def test_the_budget_is_what_the_market_lets_a_bidder_spend() -> None:
    assert AuctionConfig().daily_budget_micros == demo.DAY_BUDGET * MICROS_PER_UNIT
