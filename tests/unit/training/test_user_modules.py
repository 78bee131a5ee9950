"""Modules of a job never take the place of those that the service's own process needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_link import FakeLink, Start

from gaelp_ray.domain.jobs import EndCause

NAMES = [
    "array",
    "calendar",
    "codecs",
    "collections",
    "contextlib",
    "dataclasses",
    "datetime",
    "encodings",
    "enum",
    "gaelp_ray",
    "importlib",
    "inspect",
    "io",
    "json",
    "logging",
    "math",
    "numpy",
    "os",
    "psutil",
    "queue",
    "random",
    "re",
    "select",
    "signal",
    "site",
    "sitecustomize",
    "socket",
    "struct",
    "tempfile",
    "threading",
    "time",
    "token",
    "traceback",
    "types",
    "typing",
    "usercustomize",
    "uuid",
    "warnings",
]
TRAINER = """
from gaelp_ray.training import TrainingContext

def train(ctx: TrainingContext) -> dict:
    folder = ctx.scratch()
    (folder / "weights").write_text("w")
    ctx.report({"reward": float(ctx.rng.random())}, step=1, checkpoint=folder)
    return {"stop": ctx.should_stop()}
"""


def test_files_with_the_names_of_other_modules_do_no_harm(
    start: Start, link: FakeLink, tmp_path: Path
) -> None:
    (tmp_path / "trainer.py").write_text(TRAINER)
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('taken for another')\n")
    outcome = start("trainer:train", working_dir=str(tmp_path)).outcome()
    assert outcome.cause is EndCause.SUCCESS, link.output
    assert [step for step, _, _ in link.saved] == [1]
    assert "taken for another" not in link.output


@pytest.mark.parametrize("name", ["random", "statistics", "logging", "platform", "queue"])
def test_an_entry_point_may_have_the_name_of_a_module_of_python(
    start: Start, link: FakeLink, tmp_path: Path, name: str
) -> None:
    (tmp_path / f"{name}.py").write_text("def train(ctx):\n    return {'own': True}\n")
    outcome = start(f"{name}:train", working_dir=str(tmp_path)).outcome()
    assert (outcome.cause, outcome.result) == (EndCause.SUCCESS, {"own": True}), link.output


def test_a_script_is_the_main_module_to_its_last_second(start: Start, link: FakeLink, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import atexit, sys\n"
        "def last(): print('main is', sys.modules['__main__'].__file__, word)\n"
        "word = 'still here'\n"
        "atexit.register(last)\n"
    )
    outcome = start("python script.py", working_dir=str(tmp_path)).outcome()
    assert outcome.cause is EndCause.SUCCESS
    assert "main is script.py still here" in link.output
