"""Attempts that run real training processes, without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_link import WORKDIR, Attempt, FakeLink, Start

from gaelp_ray.training import supervisor
from gaelp_ray.training.supervisor import Workplace
from tests.builders import an_order


@pytest.fixture
def link() -> FakeLink:
    return FakeLink()


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: FakeLink) -> Start:
    """Start an attempt of ``entrypoint`` in the working folder; more fields are the order's.

    ``place`` has more fields of its workplace.
    """
    monkeypatch.setattr(supervisor, "BEAT_S", 0.02)
    monkeypatch.setattr(supervisor, "FLUSH_S", 0.02)
    monkeypatch.setattr(supervisor, "MEMORY_SAMPLE_S", 0.02)
    monkeypatch.setattr(supervisor, "GPU_SAMPLE_S", 0.02)
    monkeypatch.setattr(supervisor, "TERM_S", 0.5)

    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def begin(
        entrypoint: str,
        *,
        link: FakeLink = link,
        secrets: dict[str, str] | None = None,
        log_limit_bytes: int = 1_000_000,
        storage_uri: str = str(tmp_path / "storage"),
        place: dict[str, Any] | None = None,
        **order: Any,
    ) -> Attempt:
        place = Workplace(storage_uri, scratch, log_limit_bytes, secrets or {}, **place or {})
        return Attempt(an_order(entrypoint, **{"working_dir": WORKDIR} | order), link, place)

    return begin
