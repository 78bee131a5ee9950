"""Refusals on their way to a training process: written as JSON, and read as the errors that jobs know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gaelp_ray.domain import errors
from gaelp_ray.domain.errors import GaelpError
from gaelp_ray.training.budget import BudgetExhausted
from gaelp_ray.training.orders import Denied, Halted

_KINDS: dict[str, type[GaelpError]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, GaelpError)
}
_KINDS |= {kind.code: kind for kind in (BudgetExhausted, Denied, Halted)}


def write(error: GaelpError) -> dict[str, Any]:
    return {"code": error.code, "message": error.message, "details": error.details}


def read(written: Mapping[str, Any]) -> GaelpError:
    kind = _KINDS.get(written["code"], GaelpError)
    return kind(written["message"], **written["details"])
