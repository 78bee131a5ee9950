from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from cli_service import AGENT, Run, Service, problem


def test_an_error_is_one_sentence_on_stderr_and_exit_code_1(gaelp: Run, service: Service) -> None:
    service.answers["GET /agents/9"] = problem("not_found", "There is no agent 9.", 404)

    ran = gaelp("agents", "show", "9")

    assert (ran.code, ran.out, ran.err) == (1, "", "There is no agent 9.\n")


def test_a_service_that_is_down_is_told_with_the_way_to_start_it(
    gaelp: Run, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gaelp_ray.client.http.sleep", lambda _: None)

    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused")

    service.answers["GET /agents"] = refuse

    ran = gaelp("agents", "list")

    assert ran.code == 1
    assert "gaelp up" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ("agents", "show"),
        ("agents", "show", "bidder"),
        ("agents", "fly"),
        ("jobs", "list", "--status", "asleep"),
        ("jobs", "submit", "7", "--priority", "11"),
        ("jobs", "submit", "7", "--param", "epochs"),
        ("jobs", "submit", "7", "--config", "=3"),
        ("jobs", "list", "--limit", "0"),
        ("jobs", "cancel"),
        ("jobs", "cancel", "--reason", "none given"),
        ("jobs", "submit", "7", "--workers", "0"),
        ("jobs", "submit", "7", "--spot", "maybe"),
        ("jobs", "plan", "7", "--deadline", "tomorrow"),
        ("jobs", "plan", "7", "--label", "gpu"),
        ("quotas", "set", "user", "ann", "--limit", "gpu"),
        ("quotas", "show", "robot", "ann"),
        ("holds", "place", "planet"),
        ("demo", "--epochs", "0"),
    ],
    ids=" ".join,
)
def test_a_command_written_wrongly_is_exit_code_2_and_nothing_is_sent(
    gaelp: Run, service: Service, words: tuple[str, ...]
) -> None:
    assert gaelp(*words).code == 2
    assert service.requests == []


def test_without_a_token_the_command_says_where_one_comes_from(gaelp: Run, home: Path) -> None:
    ran = gaelp("agents", "list")

    assert ran.code == 1
    assert "GAELP_TOKEN" in ran.err
    assert str(home / "token") in ran.err


def test_the_token_of_gaelp_up_is_used(gaelp: Run, service: Service) -> None:
    service.answers["GET /agents"] = {"items": []}

    assert gaelp("agents", "list").code == 0
    assert service.requests[0].headers["Authorization"] == "Bearer local-token"
    assert str(service.requests[0].url).startswith("http://127.0.0.1:8000/")


def test_token_and_address_of_the_environment_go_first(
    gaelp: Run, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAELP_TOKEN", "from-env")
    monkeypatch.setenv("GAELP_URL", "https://gaelp.example")
    service.answers["GET /agents"] = {"items": [AGENT]}

    gaelp("agents", "list")

    assert service.requests[0].headers["Authorization"] == "Bearer from-env"
    assert service.requests[0].url.host == "gaelp.example"


def test_a_setting_that_is_wrong_is_named(gaelp: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAELP_PORT", "eight thousand")

    ran = gaelp("agents", "list")

    assert ran.code == 1
    assert "GAELP_PORT" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_help_starts_without_the_heavy_parts() -> None:
    script = (
        "import sys, gaelp_ray.cli.main; print({'ray', 'sqlalchemy', 'fastapi', 'numpy'} & set(sys.modules))"
    )

    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert loaded.stdout == "set()\n"
