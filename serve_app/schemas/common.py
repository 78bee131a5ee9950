"""What every schema shares."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from gaelp_ray.domain import ids, instants, names, text, windows
from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.money import MAX_MICROS

R = TypeVar("R")

#: The type of a finding whose message is a sentence about the field.
REFUSED = "refused"
_FIELD = "value"


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


def by(read: Callable[..., R]) -> Callable[[Any], R]:
    """A reader of the domain as a validator: its sentence goes on with the name of the field."""

    def check(value: Any) -> R:
        try:
            return read(value, field=_FIELD)
        except InvalidInput as error:
            sentence = error.message.removeprefix(f"`{_FIELD}` ").removesuffix(".")
            raise PydanticCustomError(REFUSED, "{sentence}", {"sentence": sentence}) from None

    return check


def _currency(code: str, field: str) -> str:
    if not (len(code) == 3 and code.isascii() and code.isalpha() and code.isupper()):
        raise InvalidInput(f"`{field}` must be an ISO 4217 code such as 'EUR'; got {code!r}.", field=field)
    return code


#: Free-form JSON; ``documents.read`` has seen to it that it can be stored.
Json = dict[str, Any]

#: A number, never text or a boolean in disguise.
Number = Annotated[float, Field(strict=True)]

#: A whole number, never text or a boolean in disguise.
WholeNumber = Annotated[int, Field(strict=True)]

#: An amount of money; what refuses it as one says why.
Micros = Annotated[WholeNumber, Field(ge=-MAX_MICROS, le=MAX_MICROS)]

#: True or false, never text or a number in disguise.
Flag = Annotated[bool, Field(strict=True)]

#: An id in a body.
BodyId = Annotated[WholeNumber, Field(ge=1, le=ids.MAX_ID)]

#: A moment in time: RFC 3339, with its zone, in the years 1970 to 8999.
Instant = Annotated[
    datetime,
    BeforeValidator(by(instants.read)),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="validation"),
]

#: Names of the fields that are null because a list leaves them out.
LeftOut = Annotated[
    list[str], Field(description="Fields that are null because a list leaves them out; the item has them.")
]

#: ISO 4217.
CurrencyCode = Annotated[str, Field(max_length=10), AfterValidator(by(_currency))]

#: A Kubernetes quantity of each resource.
Quantities = dict[Annotated[str, Field(max_length=100)], Annotated[str, Field(max_length=400)] | int | float]


#: The name of an IANA time zone.
Zone = Annotated[str, AfterValidator(by(windows.zone_name))]

#: The name of an agent, job or policy; of a version; of those that are kept in canonical form.
Label = Annotated[str, AfterValidator(by(names.label))]
VersionName = Annotated[str, AfterValidator(by(names.version))]
CampaignName = Annotated[str, AfterValidator(by(names.campaign))]
TeamName = Annotated[str, AfterValidator(by(names.team))]
UserName = Annotated[str, AfterValidator(by(names.user))]


def printable(most: int) -> AfterValidator:
    """A text on one line of 1 to ``most`` printable characters."""
    return AfterValidator(by(partial(text.line, most=most)))


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
