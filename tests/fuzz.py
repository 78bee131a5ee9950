"""Schemathesis over the whole API: no 5xx, and every answer as the description says.

    python -m tests.fuzz [--seconds 60] [--seed 1]

asks the service at ``GAELP_PORT`` as an admin and as two users, each for a minute, with tokens that the
secret in ``GAELP_HOME`` signs. What it makes there stays: use a service of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from gaelp_ray.cli.tokens import make
from gaelp_ray.config import Settings

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "ignored_auth",
)
#: By the name of its function: a global switch would keep others from being tried.
EXCLUDED = "^engage_"
#: Who asks, and whether as an admin.
CALLERS = {"fuzz-admin": True, "fuzz-ann": False, "fuzz-bob": False}


def run(url: str, token: str, *, seconds: int, seed: int) -> subprocess.CompletedProcess[str]:
    """Ask for so long; the exit status is 0 where nothing was found."""
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "--config-file",
        str(Path(__file__).with_name("schemathesis.toml")),
        "run",
        f"{url}/openapi.json",
        "--header",
        f"Authorization:Bearer {token}",
        "--checks",
        ",".join(CHECKS),
        "--exclude-operation-id-regex",
        EXCLUDED,
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
    ]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=3 * seconds + 180, cwd=Path.home()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each caller")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    settings, failed = Settings(), False
    for user, admin in CALLERS.items():
        token = make(settings, user, admin=admin)
        found = run(f"http://127.0.0.1:{settings.port}", token, seconds=asked.seconds, seed=asked.seed)
        print(f"As {user}:\n{found.stdout}{found.stderr}", flush=True)
        failed |= found.returncode != 0
    sys.exit(failed)


if __name__ == "__main__":
    main()
