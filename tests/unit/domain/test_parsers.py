"""Ids, instants, names, text and cursors: each has one reader, and what it refuses it says in a sentence."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaelp_ray.domain import cursors, ids, instants, names, periods
from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.text import MAX_DEPTH, check_document, line

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)


@given(st.text(max_size=25) | st.integers(-5, 2**70) | st.floats() | st.booleans())
def test_an_id_has_one_text_and_that_text_has_one_id(given: Any) -> None:
    found = ids.known(given)
    assert found is None or (str(found) == str(given) and 1 <= found <= ids.MAX_ID)


@given(st.integers(1, ids.MAX_ID))
def test_every_id_is_read_from_its_text(number: int) -> None:
    assert ids.read(str(number), field="id") == ids.read(number, field="id") == number


@pytest.mark.parametrize(
    "odd", ["02", "+2", " 2", "2\n", "2.0", "\u00b2", "\u0663", 2.0, True, 0, -1, 2**63, None, ""]
)
def test_what_is_no_id_is_refused_by_its_field(odd: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^`agent_id` must be an id: a whole number from 1"):
        ids.read(odd, field="agent_id")


@pytest.mark.parametrize("odd", ["00", "-0", "05", "+5", "5.0", " 5", "1" * 20, "", 5.0, True, None])
def test_what_is_no_whole_number_is_refused(odd: Any) -> None:
    with pytest.raises(InvalidInput, match="whole number in plain digits"):
        ids.whole(odd, field="limit")


@given(st.datetimes(timezones=st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m)))))
def test_an_instant_is_the_same_moment_in_utc_or_refused(moment: datetime) -> None:
    with contextlib.suppress(InvalidInput):
        found = instants.read(moment.isoformat(), field="at")
        assert found == moment
        assert found.tzinfo is UTC
        assert instants.EARLIEST <= found < instants.END
        assert instants.read(found.isoformat(), field="at") == found
        for length in (timedelta(days=400), timedelta(seconds=10**9)):
            assert found - length < found < found + length, "there is room around it"


@given(st.text(max_size=30) | st.integers() | st.floats() | st.none())
def test_nothing_but_an_instant_is_taken_for_one(given: Any) -> None:
    with contextlib.suppress(InvalidInput):
        pytest.fail(f"{given!r} was read as {instants.read(given, field='at')}")


def test_a_measurement_is_of_the_past_but_for_clocks_that_differ() -> None:
    assert instants.past(NOW + instants.LEEWAY, NOW, field="at") == NOW + instants.LEEWAY
    with pytest.raises(InvalidInput, match="`at` lies in the future"):
        instants.past(NOW + instants.LEEWAY + timedelta(microseconds=1), NOW, field="at")


def test_a_span_has_a_length() -> None:
    periods.check(NOW, NOW + timedelta(microseconds=1))
    with pytest.raises(InvalidInput, match="`since` must lie before `until`"):
        periods.check(NOW, NOW)


@given(st.text(max_size=40))
def test_the_canonical_form_of_a_canonical_form_is_itself(name: str) -> None:
    assert names.canonical(names.canonical(name)) == names.canonical(name)


@given(st.text(max_size=40))
def test_a_name_is_one_in_every_case_and_between_spaces(name: str) -> None:
    assert names.same(name.upper(), name.upper().lower())
    assert names.same(f" {name}\u00a0", name)


#: Several ways to write one name.
SAME = [
    ("spring", "SPRING", " spring ", "\u017fpring", "\uff33\uff50ring"),
    ("stra\u00dfe", "STRASSE", "Stra\u1e9ee"),
    ("\u00e5re", "a\u030are", "\u212bRE"),
    ("\u03c3\u03b1\u03c2", "\u03a3\u0391\u03a3", "\u03c3\u03b1\u03c3"),
    ("\ufb01ne", "FINE"),
]


@pytest.mark.parametrize("forms", SAME, ids=lambda forms: ascii(forms[0]))
def test_these_are_one_name(forms: tuple[str, ...]) -> None:
    assert len({names.campaign(form) for form in forms}) == 1


@pytest.mark.parametrize("name", ["spring", "spr\u0131ng", "spri ng", "spring-", "sp\u0433ing"], ids=ascii)
def test_names_that_only_look_alike_are_not_one(name: str) -> None:
    assert name == "spring" or not names.same(name, "spring")


@given(st.text(max_size=140))
def test_a_name_that_is_taken_can_be_shown_and_is_bounded(name: str) -> None:
    for read in (names.user, names.team, names.campaign):
        with contextlib.suppress(InvalidInput):
            kept = read(name)
            assert kept.isprintable()
            assert 0 < len(kept) <= 200
            assert kept == kept.strip() == read(kept)


@given(st.text(max_size=70))
def test_a_version_that_is_taken_stands_in_an_address_as_it_is(name: str) -> None:
    with contextlib.suppress(InvalidInput):
        kept = names.version(name)
        assert kept == name
        assert set(kept).isdisjoint("/?#% \\")
        assert kept.strip(".")


@pytest.mark.parametrize("name", ["system", "System", "a ", " a", "..", "a/b", "", "\u0661"], ids=ascii)
def test_no_agent_is_called(name: str) -> None:
    with pytest.raises(InvalidInput, match="`name` must be 1 to 128 letters"):
        names.label(name)


@pytest.mark.parametrize("text", ["", "x" * 11, "a\nb", "a\x00", 5, None])
def test_a_line_is_printable_and_bounded(text: Any) -> None:
    with pytest.raises(InvalidInput, match="`reason` must be a text of 1 to 10 printable characters"):
        line(text, most=10, field="reason")


def nested(levels: int) -> Any:
    return [nested(levels - 1)] if levels else 1


def test_a_document_is_nested_so_deep_and_no_deeper() -> None:
    check_document(nested(MAX_DEPTH))
    with pytest.raises(InvalidInput, match="nested deeper than 20 levels"):
        check_document(nested(MAX_DEPTH + 1))


BAD = {
    "NUL": ({"a": ["x\x00"]}, r"^`a\[0\]` may not hold NUL"),
    "half of a pair": ({"a": {"b": "\ud800"}}, "^`a.b` may not hold"),
    "a name with NUL": ({"a": {"\x00": 1}}, "^`a` may not hold"),
    "infinity": ({"a": float("inf")}, "^`a` must be a finite number"),
    "no number": ([float("nan")], r"^`body\[0\]` must be a finite number"),
    "a number past every float": ({"a": 10**400}, "^`a` must be a finite number"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_document_may_not_hold(case: str) -> None:
    document, words = BAD[case]
    with pytest.raises(InvalidInput, match=words):
        check_document(document)


@given(st.text(max_size=60))
def test_a_cursor_is_read_by_its_own_list_and_by_no_other(position: str) -> None:
    with contextlib.suppress(UnicodeEncodeError):
        cursor = cursors.write("jobs", position)
        assert cursors.read("jobs", cursor) == position
        with pytest.raises(InvalidInput, match="of the same list"):
            cursors.read("agents", cursor)


@given(st.text(max_size=60))
def test_what_no_list_wrote_is_no_cursor(text: str) -> None:
    with contextlib.suppress(InvalidInput):
        assert cursors.write("jobs", cursors.read("jobs", text)) == text
