"""A setting that makes no sense is refused by name, in one sentence, and no secret is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from gaelp_ray.cli.main import main
from gaelp_ray.config import Settings, unknown_settings

REFUSED: dict[str, list[str]] = {
    "GAELP_PORT": ["0", "-1", "65536", "70000", "8e3", "", "eight"],
    "GAELP_METRICS_PORT": ["0", "70000"],
    "GAELP_RAY_CLIENT_PORT": ["0", "8000"],
    "GAELP_REPLICAS": ["0", "-1", "two"],
    "GAELP_POOL_SIZE": ["0"],
    "GAELP_FOLLOWERS": ["0"],
    "GAELP_NUM_CPUS": ["-1", "nan", "inf", "1e99"],
    "GAELP_NUM_GPUS": ["-0.5"],
    "GAELP_TICK": ["1", "-PT1S", "PT0S", "P99999999D", "PT1H"],
    "GAELP_TOKEN_TTL": ["-P1D", "P99999D"],
    "GAELP_RETRY_BASE_S": ["nan", "inf", "-1"],
    "GAELP_STOP_GRACE_S": ["inf"],
    "GAELP_LOG_LEVEL": ["loud", ""],
    "GAELP_HOST": ["", " 127.0.0.1", "http://127.0.0.1"],
    "GAELP_NODE_GROUPS": ["{", "[1]"],
    "GAELP_PRICE_GPU_HOUR": ["{", '{"*": "nan"}'],
    "GAELP_CURRENCY": ["usd", ""],
    "GAELP_JWT_SECRET": ["", "   "],
    "GAELP_DATABASE_URL": [
        "mysql://root:hunter2@db/x",
        "sqlite:///hunter2",
        "hunter2",
        "postgresql://u:hunter2@db:port/x",
        "postgresql://u:hunter2@[db/x",
        "",
    ],
}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"GAELP_{name.upper()}", raising=False)
    monkeypatch.setenv("GAELP_HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in REFUSED.items() for value in values]
)
def test_it_is_named_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as left:
        main(("up",))

    told = capsys.readouterr().err
    assert left.value.code == 1
    assert name in told
    assert len(told.splitlines()) == 1
    assert told.endswith(".\n")
    assert "hunter2" not in told
    assert "Traceback" not in told


def test_a_home_without_a_user_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GAELP_HOME", "~nobody-of-that-name/x")
    with pytest.raises(SystemExit):
        main(("up",))
    assert "GAELP_HOME" in capsys.readouterr().err


@pytest.mark.parametrize("level", ["info", "INFO", "Debug"])
def test_a_level_is_written_as_people_write_it(monkeypatch: pytest.MonkeyPatch, level: str) -> None:
    monkeypatch.setenv("GAELP_LOG_LEVEL", level)
    assert Settings().log_level == level.upper()


@pytest.mark.parametrize(
    "url", ["postgresql://u:p%40ss@db/x", "postgres://db", "postgresql://postgres@/postgres?host=/tmp/x"]
)
def test_the_address_of_a_postgresql_server_is_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("GAELP_DATABASE_URL", url)
    assert Settings().database_url == url


def test_a_name_that_is_no_setting_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAELP_PROT", "8001")
    monkeypatch.setenv("GAELP_TOKEN", "x")
    monkeypatch.setenv("GAELP_URL", "http://x")
    assert "Ignoring GAELP_PROT, which is no setting; GAELP_PORT is one" in unknown_settings()
    assert not any("GAELP_TOKEN," in told or "GAELP_URL," in told for told in unknown_settings())
