"""A replica for each file of tests, on a database of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Postgres
from tests.replica import Replica


@pytest.fixture(scope="module")
def replica(postgres: Postgres) -> Iterator[Replica]:
    with postgres.database() as url, Replica(url) as running:
        yield running
