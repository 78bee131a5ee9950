"""The client finds the service of this machine as `gaelp` does, and says so when nothing is there."""

from __future__ import annotations

import socket
import traceback
from pathlib import Path

import pytest

from gaelp_ray.client import GaelpClient
from gaelp_ray.domain.errors import InvalidInput, Unavailable
from tests.service import free_ports


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("GAELP_URL", "GAELP_TOKEN", "GAELP_HOST", "GAELP_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GAELP_HOME", str(tmp_path))
    (tmp_path / "token").write_text("of-this-home\n")
    return tmp_path


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"GAELP_PORT": "8123"}, "http://127.0.0.1:8123"),
        ({"GAELP_HOST": "0.0.0.0", "GAELP_PORT": "8123"}, "http://127.0.0.1:8123"),
        ({"GAELP_HOST": "::1", "GAELP_PORT": "8123"}, "http://[::1]:8123"),
        ({"GAELP_PORT": "8123", "GAELP_URL": "https://gaelp.example/"}, "https://gaelp.example"),
    ],
)
def test_the_address_is_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert GaelpClient().url == url


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost:9", "http://[::1]:8000"])
def test_the_token_of_this_machine_is_for_this_machine(url: str) -> None:
    assert GaelpClient(url).token == "of-this-home"


@pytest.mark.parametrize(
    "url", ["https://gaelp.example", "http://192.0.2.1:8000", "http://localhost.evil.example"]
)
def test_the_token_of_this_machine_is_not_sent_to_another(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert GaelpClient(url).token is None
    monkeypatch.setenv("GAELP_URL", url)
    assert GaelpClient().token is None
    monkeypatch.setenv("GAELP_TOKEN", "of-there")
    assert GaelpClient().token == "of-there"


def test_a_home_without_a_token_is_no_error(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    (home / "token").unlink()
    assert GaelpClient().token is None
    monkeypatch.setenv("GAELP_HOME", str(home / "nowhere"))
    assert GaelpClient().token is None


@pytest.mark.parametrize("port", ["0", "70000", "eight", "8e3", "-1", "²"])
def test_a_port_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("GAELP_PORT", port)
    with pytest.raises(InvalidInput, match="GAELP_PORT"):
        GaelpClient()


def test_a_refused_connection_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gaelp_ray.client.http.sleep", lambda _: None)
    (port,) = free_ports(1)
    with GaelpClient(f"http://127.0.0.1:{port}") as gaelp, pytest.raises(Unavailable) as refused:
        gaelp.status()
    assert refused.value.message == (
        f"Nothing answers at http://127.0.0.1:{port} (connection refused); "
        f"start it with `gaelp up`, or set GAELP_URL."
    )
    shown = "".join(traceback.format_exception(refused.value))
    assert "httpcore" not in shown
    assert "During handling" not in shown
    assert "direct cause" not in shown


def test_no_proxy_of_the_environment_is_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gaelp_ray.client.http.sleep", lambda _: None)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://192.0.2.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(20)
        asked = GaelpClient(f"http://127.0.0.1:{server.getsockname()[1]}", timeout=0.5)
        with pytest.raises(Unavailable):
            asked.status()
        server.accept()[0].close()
