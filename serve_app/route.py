"""What every operation does before its own code: ask who is calling, then read what was sent, strictly."""

from __future__ import annotations

import types
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.text import storable
from serve_app import documents
from serve_app.auth import Bearer

_EMPTY = {b"", b"{}", b"null"}


class Route(APIRoute):
    """An operation. Its signature says which parameters it has; the rest is refused by name.

    - Who may not call it learns that before anything of the body is read.
    - Unknown query parameters, and single ones that are given twice, are refused.
    - A body is read by ``documents.read``; one that an operation does not take is refused.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        bearers = tuple(_bearers(self.dependant))
        query, headers = (
            _single(_fields(self.dependant, "query_params")),
            _single(_fields(self.dependant, "header_params")),
        )
        takes_body = self.body_field is not None

        async def handle(request: Request) -> Response:
            for bearer in bearers:
                await bearer(request)
            for name, value in request.path_params.items():
                if isinstance(value, str):
                    storable(value, field=name)
            if request.scope["query_string"]:
                check_query(request, query)
            if headers:
                _check_headers(request, headers)
            if not takes_body:
                await _refuse_body(request)
                return await answer(request)
            given = _Given(request.scope, request.receive)
            await given.read()
            return await answer(given)

        return handle


class _Given(Request):
    """A request whose body is a strict JSON document."""

    async def read(self) -> None:
        """Raises ``InvalidInput`` here: FastAPI would turn it into an answer without words."""
        body = await self.body()
        if body and _is_json(self.headers.get("content-type", "")):
            self._json = documents.read(body)


async def _refuse_body(request: Request) -> None:
    for name, value in request.scope["headers"]:
        if name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
            break
    else:
        return
    if (await request.body()).strip() not in _EMPTY:
        raise InvalidInput("This operation takes no body; leave it out.", field="body")


def check_query(request: HTTPConnection, known: dict[str, bool]) -> None:
    """Raise ``InvalidInput`` for unknown parameters, and for those twice that ``known`` calls single."""
    counted = Counter(name for name, _ in request.query_params.multi_items())
    for name, count in counted.items():
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise InvalidInput(
                f"There is no query parameter {name!r:.100} here; known are: {names}.", field=f"{name:.100}"
            )
        if count > 1 and known[name]:
            raise InvalidInput(
                f"The query parameter `{name}` is given {count} times; give it once.", field=name
            )
    for name, value in request.query_params.multi_items():
        storable(value, field=name)


def _check_headers(request: Request, known: dict[str, bool]) -> None:
    for name, single in known.items():
        count = len(request.headers.getlist(name))
        if single and count > 1:
            raise InvalidInput(f"The header `{name}` is given {count} times; give it once.", field=name)


def _bearers(dependant: Dependant) -> Iterator[Bearer]:
    if isinstance(dependant.call, Bearer):
        yield dependant.call
    for each in dependant.dependencies:
        yield from _bearers(each)


def _fields(dependant: Dependant, kind: str) -> Iterator[Any]:
    yield from getattr(dependant, kind)
    for each in dependant.dependencies:
        yield from _fields(each, kind)


def _single(fields: Iterable[Any]) -> dict[str, bool]:
    """By name, whether it may be given once only."""
    return {field.alias: not _is_list(field.field_info.annotation) for field in fields}


def _is_list(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _is_list(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return any(map(_is_list, get_args(annotation)))
    return (origin or annotation) in (list, tuple, set, frozenset)


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
