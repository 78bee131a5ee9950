"""Schemathesis over the whole API, as an admin and as two users: no 5xx, and every answer as described.

    python -m tests.fuzz [--seconds 60] [--seed 1]

asks the service at GAELP_PORT for a minute as each of them, with tokens of the service's own secret.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "ignored_auth",
)
#: An operation that would keep the others from being tried; its refusals are tried elsewhere.
EXCLUDED = ("engage",)


def command(url: str, token: str, *, seconds: int, seed: int) -> list[str]:
    """How Schemathesis is called."""
    return [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{url}/openapi.json",
        "--header",
        f"Authorization:Bearer {token}",
        "--checks",
        ",".join(CHECKS),
        "--exclude-operation-id-regex",
        f"^({'|'.join(EXCLUDED)})_",
        "--max-time",
        str(seconds),
        "--seed",
        str(seed),
        "--continue-on-failure",
        "--request-timeout",
        "30",
        "--warnings",
        "off",
        "--no-shrink",
        "--output-sanitize",
        "false",
    ]


def run(url: str, token: str, *, seconds: int, seed: int = 1) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(url, token, seconds=seconds, seed=seed),
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds * 3 + 120,
    )
