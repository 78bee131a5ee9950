"""Between the JSON of the service and frozen dataclasses.

Fields that this client does not know are dropped and fields that the service left out keep their
defaults, so that client and service need not be of the same version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, field, fields, is_dataclass
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from gaelp_ray.domain.errors import GaelpError

T = TypeVar("T")


def named(key: str, *, default: Any = MISSING) -> Any:
    """A dataclass field that is called ``key`` in JSON, for names Python keeps to itself."""
    return field(default=default, metadata={"json": key})


def read(model: type[T], data: Any) -> T:
    """A ``model`` from decoded JSON; raises ``GaelpError`` when what it must have is missing or malformed."""
    try:
        return _read(model, data)
    except (TypeError, ValueError, AttributeError) as error:
        raise GaelpError(
            f"The service sent {model.__name__} in a shape this client cannot read ({error}); "
            f"are both of the same version?"
        ) from error


def to_json(value: Any) -> Any:
    """``value`` as what ``json.dumps`` takes: models as objects, times in ISO 8601."""
    if is_dataclass(value):
        return {_key(f): to_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return value


def _read(model: type[T], data: Any) -> T:
    hints = _hints(cast(type, model))
    given = {f.name: (hints[f.name], data.get(_key(f))) for f in fields(model)}  # type: ignore[arg-type]
    return model(**{name: _value(hint, value) for name, (hint, value) in given.items() if value is not None})


def _value(hint: Any, value: Any) -> Any:
    if get_origin(hint) in (Union, UnionType):
        hint = next(option for option in get_args(hint) if option is not NoneType)
    if hint is datetime:
        return datetime.fromisoformat(value)
    if is_dataclass(hint):
        return _read(hint, value)  # type: ignore[arg-type]
    if get_origin(hint) is tuple:
        return tuple(_value(get_args(hint)[0], item) for item in value)
    if get_origin(hint) is Mapping:
        return {key: _value(get_args(hint)[1], item) for key, item in value.items()}
    return value


def _key(model_field: Any) -> str:
    return str(model_field.metadata.get("json", model_field.name))


@cache
def _hints(model: type) -> dict[str, Any]:
    return get_type_hints(model)
