"""Machine-made requests over the whole API: none is answered with 5xx, and all as the description says."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import uvicorn

from tests import fuzz
from tests.conftest import Postgres
from tests.replica import Replica
from tests.service import eventually, free_ports

#: Who asks, and for how many seconds.
CALLERS = {"root": 30, "ann": 15, "bob": 15}


@pytest.fixture(scope="module")
def served(postgres: Postgres) -> Iterator[tuple[Replica, str]]:
    """A replica behind a port, with things of both users in it."""
    with postgres.database() as url, Replica(url) as replica:
        for user in ("ann", "bob"):
            agent = replica.agent(user, version="1.0.0")
            replica.job(agent, user)
        [port] = free_ports(1)
        server = uvicorn.Server(uvicorn.Config(replica.app, port=port, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        eventually(lambda: server.started, what="the replica listens")
        yield replica, f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join(timeout=10)


@pytest.mark.parametrize("user", CALLERS)
def test_schemathesis_finds_nothing_as(served: tuple[Replica, str], user: str) -> None:
    replica, url = served
    token = replica.token(user, admin=user == "root")
    found = fuzz.run(url, token, seconds=CALLERS[user], seed=1)
    assert found.returncode == 0, found.stdout[-5000:] + found.stderr[-2000:]
    assert "Test cases:" in found.stdout
