"""One Ray cluster for each module: its nodes and actors are started once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gaelp_ray.config import Settings
from tests.conftest import Postgres
from tests.integration.plane import Plane, plane_of


def quick(folder: Path, url: str, **fields: Any) -> Settings:
    """Settings under which tests of waiting do not wait."""
    given: dict[str, Any] = {
        "home": folder,
        "database_url": url,
        "launchers": 1,
        "tick": timedelta(seconds=0.2),
        "retry_base_s": 0.2,
        "stop_grace_s": 5,
        "preempt_after": timedelta(0),
        "spot_wait": timedelta(0),
        "log_level": "ERROR",
    }
    return Settings(**given | fields)


@pytest.fixture(scope="module")
def plane(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    folder = tmp_path_factory.mktemp("plane")
    with postgres.database() as url, plane_of(quick(folder, url), folder) as running:
        yield running
