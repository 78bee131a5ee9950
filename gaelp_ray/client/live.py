"""The WebSocket of an agent, which comes back by itself when its connection is cut."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from time import monotonic, sleep

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from gaelp_ray.client.address import is_here
from gaelp_ray.client.backoff import pause_s
from gaelp_ray.client.messages import LiveMessage, parse
from gaelp_ray.client.problems import error_from, unreachable
from gaelp_ray.domain.errors import Unavailable

_OPEN_TIMEOUT_S = 5.0
_CLOSE_TIMEOUT_S = 1.0
#: A greeting holds whole jobs, each with whatever its owner configured.
_MAX_MESSAGE_BYTES = 64 * 1024**2
#: Answers that another try will not change.
_REFUSED = (400, 401, 403, 404)


def listen(
    url: str, token: str | None, agent_id: int, *, tick_s: float, patience_s: float
) -> Generator[LiveMessage | None, None, None]:
    """Messages of the agent as they come, and None after each ``tick_s`` without one.

    ``url`` is the HTTP address of the service. A cut connection is opened again, with backoff; a
    ``Hello`` then says that messages may have been missed. Raises ``Unavailable`` when no connection
    could be had for ``patience_s``, and ``Unauthenticated``, ``Forbidden`` or ``NotFound`` when refused.
    """
    address = f"{url.replace('http', 'ws', 1)}/ws/{agent_id}"
    headers = {"Authorization": f"Bearer {token}"} if token else None
    failures, last_good = 0, monotonic()
    while True:
        try:
            with connect(
                address,
                additional_headers=headers,
                # As for requests: no proxy of the environment knows what this machine calls itself.
                proxy=None if is_here(url) else True,
                open_timeout=_OPEN_TIMEOUT_S,
                close_timeout=_CLOSE_TIMEOUT_S,
                max_size=_MAX_MESSAGE_BYTES,
            ) as socket:
                for message in _receive(socket, tick_s):
                    failures, last_good = 0, monotonic()
                    yield message
        except (ConnectionClosed, InvalidHandshake, OSError, EOFError, Unavailable) as error:
            _raise_if_refused(error)
            if monotonic() - last_good > patience_s:
                raise unreachable(address, error) from None
        failures += 1
        yield None
        sleep(pause_s(failures))


def _receive(socket: ClientConnection, tick_s: float) -> Iterator[LiveMessage | None]:
    while True:
        try:
            yield parse(socket.recv(timeout=tick_s))
        except TimeoutError:
            yield None


def _raise_if_refused(error: Exception) -> None:
    if isinstance(error, InvalidStatus) and error.response.status_code in _REFUSED:
        raise error_from(error.response.status_code, error.response.body) from error
