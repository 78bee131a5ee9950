"""Clients whose network is a function."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from client_network import Connect, Handler

from gaelp_ray.client import GaelpClient


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAELP_URL", raising=False)
    monkeypatch.delenv("GAELP_TOKEN", raising=False)


@pytest.fixture
def connect() -> Iterator[Connect]:
    """A client with the token ``t0ken`` that is answered by the given function."""
    clients: list[GaelpClient] = []

    def to(handler: Handler) -> GaelpClient:
        client = GaelpClient("http://service:8000", "t0ken", transport=httpx.MockTransport(handler))
        clients.append(client)
        return client

    yield to
    for client in clients:
        client.close()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, in seconds, noted instead of slept."""
    noted: list[float] = []
    monkeypatch.setattr("gaelp_ray.client.http.sleep", noted.append)
    return noted
