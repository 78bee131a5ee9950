"""What every schema shares."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from gaelp_ray.domain.money import MAX_MICROS

#: A generous bound on what users may nest in `config` and `hyperparameters`.
MAX_DEPTH = 20


class In(BaseModel):
    """A request body: unknown fields and non-finite numbers are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, str_max_length=100_000)


class Patch(In):
    """A change: a field that is left out stays as it is, ``null`` clears it.

    What is cleared becomes what it is where nothing was said when the thing was made. A field that must have
    a value takes no ``null``.
    """

    #: Fields that ``null`` clears.
    clearable: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _no_null_for_a_value(cls, body: Any) -> Any:
        for name in cls.model_fields if isinstance(body, dict) else ():
            if name in body and body[name] is None and name not in cls.clearable:
                raise ValueError(f"`{name}` must have a value; leave it out to keep it as it is")
        return body

    @property
    def cleared(self) -> frozenset[str]:
        """Fields that were given as ``null``."""
        return frozenset(name for name in self.model_fields_set if getattr(self, name) is None)


class Out(BaseModel):
    """A response body."""

    model_config = ConfigDict(from_attributes=True)


def _storable(value: dict[str, Any]) -> dict[str, Any]:
    _check(value, depth=0)
    return value


def _check(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("numbers must be finite; NaN and infinity are not JSON")
    if isinstance(value, str) and "\x00" in value:
        raise ValueError("text may not hold NUL characters")
    if isinstance(value, dict):
        for key, item in value.items():
            _check(key, depth + 1)
            _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)


#: Free-form JSON that PostgreSQL can hold.
Json = Annotated[dict[str, Any], AfterValidator(_storable)]

#: A number, never text or a boolean in disguise.
Number = Annotated[float, Field(strict=True)]

#: A whole number, never text or a boolean in disguise.
WholeNumber = Annotated[int, Field(strict=True)]

#: An amount of money; what refuses it as one says why.
Micros = Annotated[WholeNumber, Field(ge=-MAX_MICROS, le=MAX_MICROS)]

#: True or false, never text or a number in disguise.
Flag = Annotated[bool, Field(strict=True)]


class Problem(BaseModel):
    """An error (RFC 9457). ``code`` is stable; ``detail`` is for people."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Not found"])
    status: int = Field(examples=[404])
    code: str = Field(examples=["not_found"])
    detail: str = Field(examples=["There is no agent 7, or you may not see it."])


class Items(Out):
    """A page; ``next_cursor`` is None on the last."""

    next_cursor: str | None = None
