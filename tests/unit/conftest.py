"""The fast suite proves that the core needs no cluster."""

from __future__ import annotations

from typing import NoReturn

import pytest
import ray
from ray._private import worker


def _no_cluster(*_args: object, **_kwargs: object) -> NoReturn:
    pytest.fail("A unit test reached for a Ray cluster.")


@pytest.fixture(autouse=True)
def _ray_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ray.init` fails, and with it everything that would call it by itself, such as `ray.get`."""
    monkeypatch.setattr(ray, "init", _no_cluster)
    monkeypatch.setattr(worker, "init", _no_cluster)
