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
    product_logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("info")
    logs.configure("WARNING")
    logging.getLogger("gaelp_ray.some.room").warning("once")
    logging.getLogger("gaelp_ray.some.room").info("too quiet")
    assert [json.loads(each)["message"] for each in capsys.readouterr().err.splitlines()] == ["once"]
    assert [type(each.formatter) for each in product_logger.handlers].count(logs.JsonFormatter) == 1
