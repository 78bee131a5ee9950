"""Structured logs: one JSON object a line on standard error, quiet by default."""

from __future__ import annotations

import json
import logging
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
#: The product's own loggers.
NAME = "gaelp_ray"
#: Id of the request that is being answered here; its log lines bear it.
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

#: A password in an address, a bearer token, and a token as the service signs them.
_SECRETS = re.compile(
    r"(?P<address>\w+://[^\s:/@]*:)[^\s/@]+(?=@)"
    r"|(?P<bearer>[Bb]earer[ .])[\w.~+/=-]{6,}"
    r"|\beyJ[\w-]+\.[\w-]+\.[\w-]*"
    r"|(?P<named>\bpassword=)[^\s&'\"]+"
)
_HIDDEN = "***"


def without_secrets(text: str) -> str:
    """The text with passwords of addresses and bearer tokens taken out."""
    return _SECRETS.sub(
        lambda found: (found["address"] or found["bearer"] or found["named"] or "") + _HIDDEN, text
    )


class JsonFormatter(logging.Formatter):
    """A sentence, and the record's ``extra`` fields beside it. No secret that can be told from other text."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (answering := request_id.get()) is not None:
            entry["request_id"] = answering
        entry |= {k: v for k, v in vars(record).items() if k not in _STANDARD and not k.startswith("_")}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return without_secrets(json.dumps(entry, default=str))


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to the process's own standard error.

    Ray Serve puts an object in the place of ``sys.stderr`` that passes lines on to its log, at a level
    at which they are dropped.
    """

    def __init__(self) -> None:
        super().__init__(sys.__stderr__ or sys.stderr)


def configure(level: str) -> None:
    """Send the product's own logs to standard error; other libraries' loggers are left as they are."""
    logger = logging.getLogger(NAME)
    if not any(isinstance(h.formatter, JsonFormatter) for h in logger.handlers):
        handler = _Handler()
        handler.setFormatter(JsonFormatter())
        logger.addHandler(handler)
    logger.setLevel(level.upper())
    logger.propagate = False
