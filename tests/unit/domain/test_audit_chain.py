"""An audit shows what was done to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaelp_ray.domain.audit import GENESIS, Record, Seal, Sealed, breaks, canonical, seal
from tests.builders import T0, at


def a_record(number: int, **fields: object) -> Record:
    given = {
        "at": at(number),
        "actor": "ann",
        "action": "limit.set",
        "subject": f"account {number}",
        "before": canonical({"limit_micros": number}),
        "after": None,
        "request_id": None,
    }
    return Record(**given | fields)  # type: ignore[arg-type]


def a_chain(length: int) -> list[Sealed]:
    chain, last = [], GENESIS
    for number in range(1, length + 1):
        record = a_record(number)
        last = seal(last, record)
        chain.append(Sealed(last, record))
    return chain


def kinds(chain: list[Sealed], head: Seal, *, anchor: Seal | None = None) -> list[tuple[int, str]]:
    return [(each.seq, each.kind) for each in breaks(chain, head, anchor=anchor)]


def test_a_chain_that_nobody_touched_holds() -> None:
    chain = a_chain(5)
    assert kinds(chain, chain[-1].seal) == []
    assert kinds([], GENESIS) == []


FIELDS = {
    "at": T0 + timedelta(days=1),
    "actor": "bob",
    "action": "limit.get",
    "subject": "account 9",
    "before": '{"limit_micros":4}',
    "after": "{}",
    "request_id": "r-1",
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_record_that_was_edited_is_named(field: str) -> None:
    chain = a_chain(5)
    head = chain[-1].seal
    chain[2] = replace(chain[2], record=replace(chain[2].record, **{field: FIELDS[field]}))
    assert kinds(chain, head) == [(3, "edited")]


def test_an_edit_that_is_sealed_anew_is_found_at_the_next_record() -> None:
    chain = a_chain(5)
    head = chain[-1].seal
    edited = a_record(3, actor="bob")
    chain[2] = Sealed(seal(chain[1].seal, edited), edited)
    assert kinds(chain, head) == [(4, "edited")]


def test_a_record_that_was_taken_out_is_missed() -> None:
    chain = a_chain(5)
    assert kinds(chain[:2] + chain[3:], chain[-1].seal) == [(3, "missing")]
    assert kinds(chain[1:], chain[-1].seal) == [(1, "missing")]
    assert kinds(chain[:-2], chain[-1].seal) == [(4, "missing")]
    assert kinds([], chain[-1].seal) == [(1, "missing")]


def test_records_that_changed_places_are_found() -> None:
    chain = a_chain(5)
    swapped = [
        chain[0],
        Sealed(chain[1].seal, chain[2].record),
        Sealed(chain[2].seal, chain[1].record),
        *chain[3:],
    ]
    assert kinds(swapped, chain[-1].seal) == [(2, "edited"), (3, "edited")]
    moved = [chain[0], chain[2], chain[1], *chain[3:]]
    assert (2, "misplaced") in kinds(moved, chain[-1].seal)


def test_a_record_past_the_end_is_found() -> None:
    chain = a_chain(5)
    assert kinds(chain, chain[3].seal) == [(5, "misplaced")]


def test_a_chain_that_was_written_anew_is_found_by_an_end_that_was_kept() -> None:
    kept = a_chain(5)[2].seal
    forged, last = [], GENESIS
    for number in range(1, 6):
        record = a_record(number, actor="mallory")
        last = seal(last, record)
        forged.append(Sealed(last, record))
    assert kinds(forged, last) == []
    assert kinds(forged, last, anchor=kept) == [(3, "head")]
    assert kinds(forged[:2], forged[1].seal, anchor=kept) == [(3, "head")]
    whole = a_chain(5)
    assert kinds(whole, whole[-1].seal, anchor=kept) == []


@given(st.data(), st.integers(2, 12))
def test_any_edit_removal_or_change_of_places_is_found(data: st.DataObject, length: int) -> None:
    chain = a_chain(length)
    head = chain[-1].seal
    place = data.draw(st.integers(0, length - 1))
    how = data.draw(st.sampled_from(["edit", "hash", "remove", "swap", "copy"]))
    touched = list(chain)
    if how == "edit":
        text = data.draw(st.text(max_size=5).filter(lambda text: text != chain[place].record.subject))
        touched[place] = replace(chain[place], record=replace(chain[place].record, subject=text))
    elif how == "hash":
        touched[place] = replace(chain[place], seal=Seal(chain[place].seal.seq, "f" * 64))
    elif how == "remove":
        del touched[place]
    elif how == "copy":
        touched.insert(place, chain[place])
    else:
        other = data.draw(st.integers(0, length - 1).filter(lambda other: other != place))
        records = [each.record for each in chain]
        records[place], records[other] = records[other], records[place]
        touched = [Sealed(each.seal, record) for each, record in zip(chain, records, strict=True)]
    assert kinds(touched, head) != []


json_values = st.dictionaries(
    st.text(max_size=4), st.none() | st.booleans() | st.integers() | st.text(max_size=6), max_size=5
)


@given(json_values)
def test_equal_values_are_written_equally(value: dict[str, object]) -> None:
    assert canonical(value) == canonical(dict(reversed(value.items())))


def test_what_is_no_number_is_not_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical({"limit": float("nan")})
    with pytest.raises(TypeError, match="object cannot be written"):
        canonical({"limit": object()})
    assert canonical({"at": T0}) == '{"at":"2025-03-01T12:00:00+00:00"}'
