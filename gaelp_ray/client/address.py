"""Where the service of this machine is, from the same variables that `gaelp up` reads."""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from gaelp_ray.domain.errors import InvalidInput

_HOST, _PORT, _HOME = "127.0.0.1", 8000, ".gaelp"
DEFAULT_URL = f"http://{_HOST}:{_PORT}"
#: Who listens everywhere is reached here.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - an address to replace, not to listen on


def service_url() -> str:
    """``GAELP_URL``, else the service at ``GAELP_HOST`` and ``GAELP_PORT``, else the usual one here."""
    return os.environ.get("GAELP_URL") or local_url(os.environ.get("GAELP_HOST") or _HOST, _local_port())


def service_token(url: str) -> str | None:
    """``GAELP_TOKEN``, else, for a service on this machine, what ``gaelp up`` wrote to ``GAELP_HOME``.

    A token of this machine is not sent to another one. None where there is no token.
    """
    given = os.environ.get("GAELP_TOKEN")
    if given or not is_here(url):
        return given or None
    return home_token(Path(os.environ.get("GAELP_HOME") or _HOME))


def home_token(home: Path) -> str | None:
    """The token in a data folder; None where there is none. Raises ``InvalidInput`` if it cannot be read."""
    try:
        path = home.expanduser() / "token"
        return path.read_text().strip() or None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RuntimeError) as error:
        raise InvalidInput(f"The token in {home} cannot be read: {error}.") from None


def local_url(host: str, port: int) -> str:
    """The address of a service that listens there."""
    host = _EVERYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_here(url: str) -> bool:
    """Whether an address is one of this machine's own loopback addresses."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _local_port() -> int:
    given = os.environ.get("GAELP_PORT") or str(_PORT)
    if not (given.isascii() and given.isdigit() and 1 <= int(given) <= 65535):
        raise InvalidInput(f"The setting GAELP_PORT is {given!r}; it must be a port, 1 to 65535.")
    return int(given)
