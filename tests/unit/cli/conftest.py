"""The ``gaelp`` command against a service in memory."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import httpx
import pytest
from cli_service import Ran, Run, Service

from gaelp_ray.cli import demo, demo_budget, output, session
from gaelp_ray.cli.main import main
from gaelp_ray.client import GaelpClient


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty data folder and no setting but it."""
    for name in ("GAELP_URL", "GAELP_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GAELP_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, home: Path) -> Service:
    """A service that every client of the command reaches; its token is on this machine."""
    (home / "token").write_text("local-token\n")
    service = Service()
    connected = partial(GaelpClient, transport=httpx.MockTransport(service))
    for module in (session, demo, demo_budget):
        monkeypatch.setattr(module, "GaelpClient", connected)
    # Jobs are followed by looking at them: the WebSocket has its own tests with the client.
    monkeypatch.setattr("gaelp_ray.client.jobs.listen", lambda *_, **__: iter(()))
    monkeypatch.setattr("gaelp_ray.client.follow.POLL_S", 0.001)
    return service


@pytest.fixture
def gaelp(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs ``gaelp`` with the given words, on a wide screen."""
    for console in (output.out, output.err):
        monkeypatch.setattr(console, "_width", 200)

    def run(*words: str) -> Ran:
        with pytest.raises(SystemExit) as exit_:
            main(words)
        printed = capsys.readouterr()
        return Ran(int(exit_.value.code or 0), printed.out, printed.err)

    return run
