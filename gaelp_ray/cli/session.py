"""How a command finds the service: address and token."""

from __future__ import annotations

from gaelp_ray.client import GaelpClient
from gaelp_ray.client.address import home_token, is_here, service_token, service_url
from gaelp_ray.config import Settings
from gaelp_ray.domain.errors import SetupError


def connect() -> GaelpClient:
    """A client of the service at ``GAELP_URL``, else of the one on this machine; needs a token."""
    settings = Settings()
    url = service_url()
    token = service_token(url)
    if token:
        return GaelpClient(url, token)
    if not is_here(url) and local_token(settings):
        raise SetupError(
            f"There is no token for {url}: set GAELP_TOKEN; the one in {settings.data_dir / 'token'} "
            f"is for this machine's service and is not sent to another."
        )
    raise SetupError(
        f"There is no token: set GAELP_TOKEN, or run `gaelp up` here, which writes "
        f"{settings.data_dir / 'token'}."
    )


def local_token(settings: Settings) -> str | None:
    """The token that ``gaelp up`` wrote; None before the first ``gaelp up``."""
    return home_token(settings.data_dir)
