"""What is not there when a job begins will not be there when it begins again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fake_link
import pytest
from fake_link import FakeLink, Start

from gaelp_ray.domain.attempts import ResumePoint
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.training import checkpoints

#: id: (entry point, hyperparameters, words of the message)
MISSING: dict[str, tuple[str, dict[str, Any], str]] = {
    "a module": ("no_such:train", {}, "ModuleNotFoundError"),
    "a module of a module": ("broken:train", {}, "a_module_that_does_not_exist"),
    "a module of a script": ("python lacking.py", {}, "a_module_that_does_not_exist"),
    "a module of a function": ("jobs:import_what_is_missing", {}, "a_module_that_does_not_exist"),
    "a file": ("jobs:read_what_is_missing", {"path": "/nowhere/data.csv"}, "/nowhere/data.csv"),
    "a file that is a folder": ("jobs:read_what_is_missing", {"path": "/"}, "IsADirectoryError"),
    "a folder that is a file": ("jobs:read_what_is_missing", {"path": "jobs.py/x"}, "NotADirectoryError"),
    "a function": ("jobs:nope", {}, "nope"),
    "a parameter": ("jobs:takes_nothing", {}, "takes_nothing must take one argument, the context"),
}


@pytest.mark.parametrize("case", MISSING)
def test_a_job_is_not_tried_again_that_lacks(start: Start, case: str) -> None:
    entrypoint, hyperparameters, words = MISSING[case]
    outcome = start(entrypoint, hyperparameters=hyperparameters).outcome()
    assert outcome.cause is EndCause.MISCONFIGURED
    assert words in outcome.message
    assert repr(fake_link.WORKDIR) in outcome.message, "the folder is named"


def test_a_script_that_is_no_python_is_not_tried_again(start: Start, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("this is (not python\n")
    outcome = start("python train.py", working_dir=str(tmp_path)).outcome()
    assert outcome.cause is EndCause.MISCONFIGURED
    assert "SyntaxError" in outcome.message


def test_what_goes_missing_after_a_report_is_tried_again(start: Start, tmp_path: Path) -> None:
    parameters = {"path": "/nowhere/data.csv", "after_a_report": True}
    outcome = start("jobs:read_what_is_missing", hyperparameters=parameters, link=FakeLink()).outcome()
    assert outcome.cause is EndCause.USER_ERROR
    (tmp_path / "source").mkdir()
    saved = checkpoints.save(tmp_path / "source", str(tmp_path / "checkpoint"))
    resume = ResumePoint(uri=saved.uri, digest=saved.digest, step=3, metrics={})
    outcome = start(
        "jobs:read_what_is_missing", hyperparameters={"path": "/nowhere/data.csv"}, resume_from=resume
    ).outcome()
    assert outcome.cause is EndCause.USER_ERROR, "it had come further before"
