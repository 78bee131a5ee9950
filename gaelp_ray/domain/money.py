"""Money is ``int`` micros: 1 unit of currency = 1_000_000 micros, the unit ad platforms report in.

A float never enters arithmetic. Numbers from JSON are read through their decimal text, so ``0.1`` is
exactly 100_000 micros.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import NewType

from gaelp_ray.domain.errors import InvalidInput

Micros = NewType("Micros", int)

MICROS_PER_UNIT = 1_000_000
#: The most that a limit, a price or another number of one request may be: 9.2 trillion units, what a signed
#: 64-bit column can hold. What an account adds up to may be more, so nobody fills a count that others share.
MAX_MICROS = 2**63 - 1
#: The most that one operation of the ledger may move: a billion units.
MAX_AMOUNT_MICROS = 10**15
_MICRO = Decimal(1) / MICROS_PER_UNIT


def micros_from_units(amount: int | float | str | Decimal, *, field: str = "amount") -> Micros:
    """Read a non-negative amount in currency units as micros.

    Raises ``InvalidInput`` for NaN, infinities, negatives, more than six decimals and overflow.
    """
    if isinstance(amount, bool):
        raise InvalidInput(f"`{field}` must be a number, not a boolean.")
    try:
        value = Decimal(str(amount))
    except InvalidOperation:
        raise InvalidInput(f"`{field}` must be a number such as 5000.0, not {amount!r}.") from None
    if not value.is_finite():
        raise InvalidInput(f"`{field}` must be a finite number, not {amount}.")
    if value < 0:
        raise InvalidInput(f"`{field}` must not be negative; got {amount}.")
    if value > MAX_MICROS // MICROS_PER_UNIT:
        raise InvalidInput(f"`{field}` is too large; the most is {MAX_MICROS // MICROS_PER_UNIT}.")
    # The remainder is exact, where a product would be rounded to 28 digits first.
    if value % _MICRO:
        raise InvalidInput(f"`{field}` may have at most six decimals; got {amount}.")
    return Micros(int(value * MICROS_PER_UNIT))


def whole_micros(amount: object, *, field: str = "amount_micros", most: int = MAX_MICROS) -> Micros:
    """Check an amount that is in micros already: a whole number from 1 to ``most``.

    Raises ``InvalidInput`` for everything else, floats without a fraction and booleans too.
    """
    if isinstance(amount, bool) or not isinstance(amount, int):
        raise InvalidInput(f"`{field}` must be a whole number of micros; got {str(amount)[:64]}.")
    if not 0 < amount <= most:
        raise InvalidInput(f"`{field}` must be 1 to {most} micros; got {str(amount)[:64]}.")
    return Micros(amount)


def units_from_micros(amount: int) -> float:
    """Micros as currency units, for people and JSON only; never compute with the result."""
    return amount / MICROS_PER_UNIT


def written(amount: int) -> str:
    """Micros as exact currency units for people: ``12.5``."""
    whole, micros = divmod(abs(amount), MICROS_PER_UNIT)
    sign = "-" if amount < 0 else ""
    return f"{sign}{whole}.{micros:06d}".rstrip("0").rstrip(".")
