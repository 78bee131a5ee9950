"""Answers as bytes, written once: a response model that was just built needs no second validation."""

from __future__ import annotations

from fastapi.responses import Response
from pydantic import BaseModel


def json_response(body: BaseModel, status: int = 200) -> Response:
    return Response(body.__pydantic_serializer__.to_json(body), status, media_type="application/json")
