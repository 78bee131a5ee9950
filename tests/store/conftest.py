"""The services on a fresh database."""

from __future__ import annotations

import pytest

from gaelp_ray.store.engine import Store
from tests.builders import World


@pytest.fixture
def world(store: Store) -> World:
    return World(store)
