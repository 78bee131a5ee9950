"""A key stands for what its caller sent, not for what the service looked up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from hashlib import blake2b

import pytest

from gaelp_ray.domain.ledger import Correct, Expire, Hold, Request, Spend, digest, first_digest
from gaelp_ray.domain.windows import Period
from tests.bank import (
    MINUTE,
    MemoryBank,
    a_correction,
    a_hold,
    a_lease,
    a_post,
    a_settlement,
    a_spend,
    a_void,
    name,
)
from tests.builders import T0

NAMED: dict[str, Callable[..., Hold | Spend | Correct]] = {
    "hold": a_hold,
    "spend": a_spend,
    "correction": lambda key, *ids, **fields: a_correction(key, *ids, delta=1, **fields),
}


@pytest.mark.parametrize("kind", NAMED)
def test_accounts_that_were_looked_up_are_no_part_of_a_body(kind: str) -> None:
    asked = replace(NAMED[kind]("k", 1), named="budget 1 campaign spring")
    assert digest(asked) == digest(replace(asked, account_ids=(1, 2, 3)))
    assert digest(asked) != digest(replace(asked, named="budget 1 campaign fall"))
    assert digest(asked) != digest(replace(asked, named=None))
    assert digest(asked) != digest(replace(asked, currency="USD"))


#: Bodies of which each is another.
BODIES: list[Request] = [
    a_hold("k"),
    a_hold("k", 2),
    a_hold("k", 1, 2),
    a_hold("k", amount=11),
    a_hold("k", margin_micros=1),
    a_hold("k", ttl=2 * MINUTE),
    a_hold("k", job_id=1),
    a_hold("k", follows="x"),
    a_lease("k"),
    a_post("k", key="k"),
    a_post("k", 10, key="k"),
    a_void("k", key="k"),
    a_settlement("k", 10, key="k"),
    a_settlement("k", 0, key="k"),
    a_spend("k"),
    a_spend("k", at=T0),
    a_correction("k", delta=10),
    a_correction("k", delta=-10),
    a_correction("k", delta=10, hold_key="h"),
    a_correction("k", delta=10, reason="another"),
    Expire(hold_key="k"),
]


def test_another_body_has_another_digest() -> None:
    assert len({digest(body) for body in BODIES}) == len(BODIES)


def test_the_same_moment_of_another_zone_is_the_same_body() -> None:
    there = T0.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert digest(a_spend("k", at=T0)) == digest(a_spend("k", at=there))
    assert digest(a_correction("k", delta=1, at=T0)) == digest(a_correction("k", delta=1, at=there))


def test_a_digest_is_the_same_in_every_release() -> None:
    """They are stored. One that changes makes conflicts of what was answered before."""
    body = a_hold("k", 1, 2, job_id=7, follows="x")
    held = ("hold", (1, 2), "EUR", 10, 0, 60_000_000, "return", 7, "x")
    assert digest(body) == hashed(held)
    assert digest(a_spend("k", at=T0)) == hashed(("spend", (1,), "EUR", 10, "2025-03-01T12:00:00+00:00"))
    first = ("k", (1,), "EUR", 10, datetime(2025, 3, 1, 12, tzinfo=UTC))
    assert first_digest(a_spend("k", at=T0)) == hashed(first)


def hashed(body: object) -> str:
    return blake2b(repr(body).encode(), digest_size=16).hexdigest()


def test_the_first_answer_comes_again_when_another_account_is_bound_since() -> None:
    ledger = MemoryBank({1: {Period.TOTAL: 100}, 2: {Period.TOTAL: 5}})
    asked = a_hold("k", 1, named="budget 1 campaign ")
    first = ledger.ask(asked)
    assert name(first) == "hold 10"
    assert ledger.ask(replace(asked, account_ids=(1, 2))) == first
    assert name(ledger.ask(replace(asked, amount_micros=11, account_ids=(1, 2)))) == "idempotency_conflict"


@pytest.mark.parametrize("kind", NAMED)
def test_what_was_answered_before_accounts_had_names_is_answered_again(kind: str) -> None:
    ledger = MemoryBank({1: {Period.TOTAL: 100}, 2: {Period.TOTAL: None}})
    ledger.ask(a_spend("before", amount=5))
    asked = NAMED[kind]("k", 1)
    first = ledger.ask(asked)
    [answer] = [answer for key, answer in ledger.book.answers.items() if key == "k"]
    ledger.book.answers["k"] = replace(answer, digest=first_digest(asked))
    assert ledger.ask(replace(asked, named="budget 1 campaign ")) == first
    moved = replace(asked, named="budget 1 campaign ", account_ids=(1, 2))
    # Of a hold it is known which accounts it was on.
    again = name(first) if kind == "hold" else "idempotency_conflict"
    assert name(ledger.ask(moved)) == again
