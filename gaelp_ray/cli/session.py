"""How a command finds the service: settings, address, token."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gaelp_ray.domain.errors import SetupError

# Imported where they are used: `gaelp --help` must not pay for them.
if TYPE_CHECKING:
    from gaelp_ray.client import GaelpClient
    from gaelp_ray.config import Settings


def connect() -> GaelpClient:
    """A client of the service at ``GAELP_URL``, else of the one on this machine; needs a token."""
    from gaelp_ray.client import GaelpClient  # noqa: PLC0415

    settings = read_settings()
    token = os.environ.get("GAELP_TOKEN") or local_token(settings)
    if not token:
        raise SetupError(
            f"There is no token: set GAELP_TOKEN, or run `gaelp up`, which writes {settings.data_dir / 'token'}."
        )
    return GaelpClient(os.environ.get("GAELP_URL") or local_url(settings), token)


def read_settings() -> Settings:
    """The settings; ``SetupError`` names the one that is wrong."""
    from pydantic import ValidationError  # noqa: PLC0415

    from gaelp_ray.config import Settings  # noqa: PLC0415

    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        raise SetupError(f"GAELP_{name} is not valid: {first['msg']}.") from None


def local_url(settings: Settings) -> str:
    """Where the service of this machine answers to this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104
    return f"http://{host}:{settings.port}"


def local_token(settings: Settings) -> str | None:
    """The token that ``gaelp up`` wrote; None before the first ``gaelp up``."""
    try:
        return (settings.data_dir / "token").read_text().strip() or None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SetupError(f"The token cannot be read: {error}.") from error
