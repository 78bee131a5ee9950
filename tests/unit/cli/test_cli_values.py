"""How KEY=VALUE is read, and that a path means the same in every folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_service import AGENT, JOB, Run, Service

from gaelp_ray.cli.options import folder, values

READ: dict[str, Any] = {
    "true": True,
    "True": True,
    "False": False,
    "false": False,
    "None": None,
    "null": None,
    "1": 1,
    "-0.5": -0.5,
    "1e-3": 0.001,
    '"True"': "True",
    '"1"': "1",
    "[1, true]": [1, True],
    "[1, True, None]": [1, True, None],
    "{'a': False}": {"a": False},
    '{"a": [null]}': {"a": [None]},
    "adam": "adam",
    "TRUE": "TRUE",
    "yes": "yes",
    "": "",
    "a=b": "a=b",
    "NaN": "NaN",
    "Infinity": "Infinity",
    "1e999": "1e999",
    "[1e999]": "[1e999]",
    "01": "01",
    "0x10": "0x10",
    "1_000": "1_000",
    "(1, 2)": "(1, 2)",
    "{1, 2}": "{1, 2}",
    "b'x'": "b'x'",
    "2024-01-01": "2024-01-01",
    "__import__('os')": "__import__('os')",
    "[" * 5000: "[" * 5000,
}


@pytest.mark.parametrize("written", READ, ids=lambda written: written[:20] or "nothing")
def test_a_value_is_json_or_pythons_spelling_of_it_or_text(written: str) -> None:
    assert values([f"key={written}"], "--param") == {"key": READ[written]}
    assert type(values([f"key={written}"], "--param")["key"]) is type(READ[written])


@pytest.mark.parametrize(
    "words",
    [
        ("jobs", "submit", "7", "--param", "lr=1", "--param", "lr=2"),
        ("jobs", "submit", "7", "--param", "lr=1", "--param", "lr=1"),
        ("jobs", "submit", "7", "--param", 'net={"a":1,"a":2}'),
        ("jobs", "submit", "7", "--config", "k=1", "--config", "k=2"),
        ("jobs", "submit", "7", "--env", "K=1", "--env", "K=2"),
        ("jobs", "plan", "7", "--label", "zone=a", "--label", "zone=b"),
        ("agents", "create", "bidder", "--secret", "K=a", "--secret", "K=b"),
        ("quotas", "set", "user", "ann", "--limit", "gpu=1", "--limit", "gpu=2"),
    ],
    ids=" ".join,
)
def test_a_key_that_is_there_twice_is_refused(gaelp: Run, service: Service, words: tuple[str, ...]) -> None:
    ran = gaelp(*words)

    assert ran.code == 2
    assert "twice" in " ".join(ran.err.replace("│", " ").split())
    assert service.requests == []


def test_a_flag_reaches_the_service_as_one(gaelp: Run, service: Service) -> None:
    service.answers["POST /jobs"] = JOB

    gaelp("jobs", "submit", "7", "--param", "flag=True", "--param", "name='x'")

    assert service.sent("POST /jobs")[0]["hyperparameters"] == {"flag": True, "name": "'x'"}


def test_a_working_dir_is_named_from_the_root(
    gaelp: Run, service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    service.answers["POST /agents"] = AGENT
    service.answers["POST /agents/7/versions"] = AGENT | {"version": "2"}

    gaelp("agents", "create", "bidder", "--working-dir", "./x")
    gaelp("agents", "add-version", "7", "2", "--working-dir", "x/../y (2)")

    assert service.sent("POST /agents")[0]["working_dir"] == str(tmp_path / "x")
    assert service.sent("POST /agents/7/versions")[0]["working_dir"] == str(tmp_path / "y (2)")


@pytest.mark.parametrize("address", ["s3://code/x.zip", "https://example.com/x.zip", "/already/there"])
def test_what_is_named_from_the_root_stays(address: str) -> None:
    assert folder(address) == address


def test_the_home_of_the_user_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert folder("~/code") == "/somewhere/code"


def test_the_version_is_told(gaelp: Run) -> None:
    from gaelp_ray import __version__  # noqa: PLC0415

    assert gaelp("--version").out == f"gaelp {__version__}\n"
