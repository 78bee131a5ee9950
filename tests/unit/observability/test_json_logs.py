"""A log line is one JSON object: a sentence, and the facts beside it."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gaelp_ray.observability import logs


def line(message: str = "said {}", *args: Any, exc_info: Any = None, **extra: Any) -> dict[str, Any]:
    record = logging.LogRecord("gaelp_ray.x", logging.WARNING, "x.py", 1, message, args, exc_info)
    vars(record).update(extra)
    written = logs.JsonFormatter().format(record)
    assert "\n" not in written
    found: dict[str, Any] = json.loads(written)
    return found


def test_a_sentence_and_its_facts() -> None:
    found = line("%s of %d\nlines", "first", 2, job_id=7, action="finish")
    assert found.pop("at").endswith("+00:00")
    assert found == {
        "level": "warning",
        "logger": "gaelp_ray.x",
        "message": "first of 2\nlines",
        "job_id": 7,
        "action": "finish",
    }


def test_what_json_has_no_word_for_is_written_as_text() -> None:
    assert line("a", path=Path("/tmp/x"), _private=1) | {"at": ""} == {
        "at": "",
        "level": "warning",
        "logger": "gaelp_ray.x",
        "message": "a",
        "path": "/tmp/x",
    }


def test_an_exception_is_told_with_its_trace() -> None:
    try:
        raise ValueError("went wrong")
    except ValueError:
        told = line("failed", exc_info=sys.exc_info())["exception"]
    assert told.startswith("Traceback")
    assert told.endswith("ValueError: went wrong")


@pytest.fixture
def product_logger() -> Iterator[logging.Logger]:
    """The product's logger, as if nobody had configured it yet."""
    logger = logging.getLogger("gaelp_ray")
    before = logger.handlers, logger.level, logger.propagate
    logger.handlers = []
    yield logger
    logger.handlers, logger.level, logger.propagate = before


def test_configuring_twice_says_things_once(
    product_logger: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    logs.configure("info")
    logs.configure("WARNING")
    logging.getLogger("gaelp_ray.some.room").warning("once")
    logging.getLogger("gaelp_ray.some.room").info("too quiet")
    assert [json.loads(each)["message"] for each in capfd.readouterr().err.splitlines()] == ["once"]
    assert [type(each.formatter) for each in product_logger.handlers].count(logs.JsonFormatter) == 1


class Elsewhere:
    """What Ray Serve puts in the place of a replica's standard error: its lines are dropped."""

    def write(self, text: str) -> None:
        del text

    def flush(self) -> None:
        pass


def test_lines_are_written_where_standard_error_was_replaced(
    product_logger: logging.Logger, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    del product_logger
    monkeypatch.setattr(sys, "stderr", Elsewhere())
    logs.configure("INFO")
    logging.getLogger("gaelp_ray.http").info("said")
    assert json.loads(capfd.readouterr().err)["message"] == "said"


def test_a_line_bears_the_id_of_its_request() -> None:
    token = logs.request_id.set("r-1")
    try:
        assert line("a")["request_id"] == "r-1"
        assert line("a", request_id="r-2")["request_id"] == "r-2"
    finally:
        logs.request_id.reset(token)
    assert "request_id" not in line("a")


JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("said", "secret"),
    [
        ("postgresql://gaelp:hunter2@db/gaelp?x=1", "hunter2"),
        ("host=db password=hunter2 user=x", "hunter2"),
        (f"Authorization: Bearer {JWT}", JWT),
        ("Authorization: bearer abc.def", "abc.def"),
        (f"subprotocol bearer.{JWT}", JWT),
        (f"token {JWT}.", JWT),
    ],
)
def test_no_secret_is_written(said: str, secret: str) -> None:
    try:
        raise ValueError(said)
    except ValueError:
        found = line(said, exc_info=sys.exc_info(), url=said)
    assert secret not in json.dumps(found)
    assert "***" in found["message"]


@pytest.mark.parametrize("said", ["http://127.0.0.1:8000/x@y", "bearer of news", "a: b@c", "price 3:4"])
def test_other_text_stays(said: str) -> None:
    assert line(said)["message"] == said
