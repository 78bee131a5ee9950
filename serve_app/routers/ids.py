"""Ids and other whole numbers in addresses."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from pydantic import BeforeValidator, Field

from gaelp_ray.domain import ids
from serve_app.schemas.common import by

_Read = Annotated[int, Field(ge=1, le=ids.MAX_ID), BeforeValidator(by(ids.read))]

#: A whole number in a query: written in plain digits.
PLAIN = BeforeValidator(by(ids.whole))

Id = Annotated[_Read, Path()]
QueryId = Annotated[_Read, Query()]
