"""Every notebook runs from top to bottom against a fresh service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.service import Service

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(service: Service, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setenv("GAELP_URL", service.url)
    monkeypatch.setenv("GAELP_TOKEN", service.admin_token)
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert cells
    namespace: dict[str, object] = {}
    for number, cell in enumerate(cells, 1):
        code = compile("".join(cell["source"]), f"{path.name}, cell {number}", "exec")
        exec(code, namespace)
