"""How a command finds the service: address and token."""

from __future__ import annotations

import os

from gaelp_ray.cli import local
from gaelp_ray.client import GaelpClient
from gaelp_ray.config import Settings
from gaelp_ray.domain.errors import SetupError


def connect() -> GaelpClient:
    """A client of the service at ``GAELP_URL``, else of the one on this machine; needs a token."""
    settings = Settings()
    token = os.environ.get("GAELP_TOKEN") or local_token(settings)
    if not token:
        raise SetupError(
            f"There is no token: set GAELP_TOKEN, or run `gaelp up` here, which writes "
            f"{settings.data_dir / 'token'}."
        )
    return GaelpClient(os.environ.get("GAELP_URL") or local.base_url(settings), token)


def local_token(settings: Settings) -> str | None:
    """The token that ``gaelp up`` wrote; None before the first ``gaelp up``."""
    try:
        return (settings.data_dir / "token").read_text().strip() or None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SetupError(f"The token cannot be read: {error}.") from error
