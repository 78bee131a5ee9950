"""What is true of every amount, quantity, checkpoint and stream."""

from __future__ import annotations

import contextlib
import json
import math
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from gaelp_ray.domain.checkpoints import Retention, expendable
from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.money import MAX_MICROS, MICROS_PER_UNIT, micros_from_units
from gaelp_ray.domain.resources import Resources, parse_resources
from gaelp_ray.training.channel import Channel
from gaelp_ray.training.redaction import Redactor
from tests.builders import a_checkpoint


@given(st.integers(0, MAX_MICROS // MICROS_PER_UNIT * MICROS_PER_UNIT))
def test_micros_survive_being_written_as_units(micros: int) -> None:
    units, rest = divmod(micros, MICROS_PER_UNIT)
    assert micros_from_units(f"{units}.{rest:06d}") == micros
    assert micros_from_units(Decimal(micros).scaleb(-6)) == micros


@given(st.floats() | st.decimals() | st.integers(-(10**30), 10**30) | st.text(max_size=20))
def test_an_amount_is_read_exactly_or_refused(amount: float | Decimal | int | str) -> None:
    with contextlib.suppress(InvalidInput):
        micros = micros_from_units(amount)
        assert 0 <= micros <= MAX_MICROS
        assert Decimal(micros).scaleb(-6) == Decimal(str(amount))


requests = st.builds(
    Resources,
    cpu_milli=st.integers(1, 2**40),
    memory_bytes=st.integers(2**25, 2**50),
    gpu_milli=st.just(0) | st.integers(10, 999) | st.integers(0, 64).map(lambda n: n * 1000),
    storage_bytes=st.just(0) | st.integers(2**20, 2**50),
)


@given(requests)
def test_a_request_survives_being_written(request: Resources) -> None:
    assert parse_resources(request.to_quantities()) == request


@given(st.text(max_size=12) | st.floats() | st.integers())
def test_a_quantity_is_read_or_refused_in_our_own_words(quantity: str | float) -> None:
    with contextlib.suppress(InvalidInput):
        assert parse_resources({"storage": quantity}).storage_bytes >= 0


checkpoint_lists = st.lists(st.tuples(st.integers(0, 20), st.none() | st.floats(-5, 5)), max_size=12).map(
    lambda found: [
        a_checkpoint(step, record_id=number, **({} if reward is None else {"reward": reward}))
        for number, (step, reward) in enumerate(found)
    ]
)


@given(checkpoint_lists, st.integers(0, 4), st.integers(0, 4))
def test_retention_keeps_the_newest_and_the_best_and_no_more(
    checkpoints: list[object], latest: int, best: int
) -> None:
    gone = expendable(checkpoints, Retention(latest=latest, best=best))  # type: ignore[arg-type]
    kept = [c for c in checkpoints if c not in gone]
    assert len(kept) <= latest + best
    newest = sorted(checkpoints, key=lambda c: c.id, reverse=True)[:latest]  # type: ignore[attr-defined]
    assert all(c in kept for c in newest)
    rewards = sorted((c.metrics["reward"] for c in checkpoints if c.metrics), reverse=True)  # type: ignore[attr-defined]
    still = sorted((c.metrics["reward"] for c in kept if c.metrics), reverse=True)  # type: ignore[attr-defined]
    assert still[:best] == rewards[:best]


#: Two letters, so that secrets begin, end and hold each other all the time.
secrets = st.lists(st.text("ab", min_size=6, max_size=9), max_size=3)


@given(secrets, st.lists(st.text("ab", max_size=12), max_size=8))
def test_a_stream_is_redacted_the_same_however_it_is_cut(secrets: list[str], pieces: list[str]) -> None:
    redactor = Redactor(secrets)
    passed = b"".join(redactor.feed(piece.encode()) for piece in pieces) + redactor.flush()
    assert passed.decode() == Redactor(secrets).redact("".join(pieces))
    assert not any(secret in passed.decode() for secret in secrets)


@given(st.lists(st.text("ab", min_size=6, max_size=9), min_size=1, max_size=3), st.text("abc", max_size=30))
def test_no_more_is_held_back_than_a_secret_is_long(secrets: list[str], text: str) -> None:
    redactor = Redactor(secrets)
    redactor.feed(text.encode())
    assert len(redactor.flush()) <= max(max(map(len, secrets)) - 1, len("[redacted]") + 8)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def storable(value: object) -> bool:
    """Whether PostgreSQL takes it as JSON."""
    if isinstance(value, dict):
        return all(storable(k) and storable(v) for k, v in value.items())
    if isinstance(value, list):
        return all(map(storable, value))
    if isinstance(value, str):
        return "\x00" not in value and not any(0xD800 <= ord(c) < 0xE000 for c in value)
    return not isinstance(value, float) or math.isfinite(value)


@given(json_values)
def test_whatever_a_process_says_can_be_stored(value: object) -> None:
    ours, theirs = Channel.pair()
    other = Channel(theirs)
    with contextlib.closing(ours), contextlib.closing(other):
        ours.send({"value": value})
        heard = other.receive()
    assert heard is not None
    assert storable(heard)
    if storable(value):
        assert heard == {"value": json.loads(json.dumps(value))}
