"""One HTTP conversation with the service: addresses, the token, retries, errors."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from time import sleep
from typing import Any

import httpx

from gaelp_ray.client.address import is_here
from gaelp_ray.client.backoff import pause_s
from gaelp_ray.client.problems import error_from, reason, unreachable
from gaelp_ray.domain.errors import GaelpError, InvalidInput, Unavailable

API = "/api/v1"
#: Tries of a request that may be repeated without harm.
TRIES = 4
#: A server that asks for more patience than this is not obeyed, in seconds.
RETRY_AFTER_CAP_S = 30.0
#: Answers of a proxy or of a replica that is going: another replica may answer.
_PASSING = (502, 503)
#: The connection broke or never was; a timeout is not among them, for the caller chose how long to wait.
_BROKEN = (httpx.NetworkError, httpx.RemoteProtocolError)


class Http:
    """Requests that answer with decoded JSON or raise the domain's errors."""

    def __init__(
        self, url: str, token: str | None, timeout: float, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.url = _checked_url(url)
        self.token = _checked_token(token)
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        self._client = httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=timeout,
            transport=transport,
            follow_redirects=False,
            # A proxy of the environment does not know what this machine calls itself.
            trust_env=not is_here(self.url),
        )

    def get(self, path: str, **params: Any) -> Any:
        """GET below the API prefix; parameters that are None are left out."""
        return self._decoded(self.request("GET", API + path, params=params, repeatable=True))

    def post(
        self, path: str, body: Mapping[str, Any], *, key: str | None = None, repeatable: bool = False
    ) -> Any:
        """POST below the API prefix; fields that are None are left out.

        With an idempotency ``key``, or if it is ``repeatable`` anyway, the request is repeated after a broken
        connection.
        """
        headers = {} if key is None else {"Idempotency-Key": key}
        return self._decoded(
            self.request(
                "POST", API + path, body=body, headers=headers, repeatable=repeatable or key is not None
            )
        )

    def patch(self, path: str, body: Mapping[str, Any], *, nulls: Collection[str] = ()) -> Any:
        """PATCH below the API prefix; fields that are None are left out, but for those in ``nulls``."""
        return self._decoded(self.request("PATCH", API + path, body=body, nulls=nulls))

    def put(self, path: str, body: Mapping[str, Any], *, nulls: Collection[str] = ()) -> Any:
        """PUT below the API prefix; repeated after a broken connection, for it does the same again.

        Fields that are None are left out, but for those in ``nulls``.
        """
        return self._decoded(self.request("PUT", API + path, body=body, repeatable=True, nulls=nulls))

    def delete(self, path: str, **params: Any) -> None:
        """DELETE below the API prefix; parameters that are None are left out."""
        self.request("DELETE", API + path, params=params)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
        nulls: Collection[str] = (),
    ) -> httpx.Response:
        """Send and return a successful response; raises the ``GaelpError`` that the service answers with.

        Raises ``Unavailable`` when nothing answers, for a ``repeatable`` request after a few tries, and
        ``InvalidInput`` for a ``body`` that JSON cannot hold.
        """
        try:
            request = self._client.build_request(
                method,
                path,
                params=_written(params or {}),
                json=None if body is None else _written(body, nulls),
                headers=headers,
            )
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"The request cannot be written as JSON: {error}.") from error
        for failures in range(1, TRIES + 1):
            last = failures == TRIES or not repeatable
            try:
                response = self._client.send(request)
            except httpx.TransportError as error:
                if last or not isinstance(error, _BROKEN):
                    raise unreachable(self.url, error) from None
                sleep(pause_s(failures))
                continue
            if response.status_code not in _PASSING or last:
                break
            sleep(max(pause_s(failures), _retry_after_s(response)))
        if not response.is_success:
            raise error_from(response.status_code, response.content)
        return response

    def stream(self, path: str, **params: Any) -> Iterator[str]:
        """Text of a GET below the API prefix as it arrives; silence is allowed to last.

        Raises ``Unavailable`` when the connection breaks before the end.
        """
        patient = httpx.Timeout(self._client.timeout.connect, read=None)
        try:
            with self._client.stream("GET", API + path, params=_written(params), timeout=patient) as answer:
                if not answer.is_success:
                    raise error_from(answer.status_code, answer.read())
                yield from answer.iter_text()
        except (httpx.ReadError, httpx.RemoteProtocolError) as error:
            raise Unavailable(f"The stream was cut ({reason(error)}); ask again to go on.") from None
        except httpx.TransportError as error:
            raise unreachable(self.url, error) from None

    def close(self) -> None:
        self._client.close()

    def _decoded(self, response: httpx.Response) -> Any:
        try:
            return response.json()
        except ValueError as error:
            raise GaelpError(f"What answers at {self.url} is not gaelp-ray; is the address right?") from error


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidInput(
            f"{url!r} is not an address ({error}); use one such as http://host:8000."
        ) from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidInput(f"{url!r} is not an address of the service; use one such as http://host:8000.")
    return url.rstrip("/")


def _checked_token(token: str | None) -> str | None:
    token = (token or "").strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise InvalidInput("The token holds characters no token has; copy it again or make a new one.")
    return token or None


def _written(values: Mapping[str, Any], nulls: Collection[str] = ()) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in values.items()
        if value is not None or name in nulls
    }


def _retry_after_s(response: httpx.Response) -> float:
    """What the server asks for in whole seconds; 0 for a date or nonsense."""
    asked = response.headers.get("Retry-After", "")
    return min(RETRY_AFTER_CAP_S, float(asked)) if asked.isascii() and asked.isdigit() else 0.0
