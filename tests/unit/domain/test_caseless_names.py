"""Names that Unicode calls one are one, and what was kept before is kept in that form."""

from __future__ import annotations

import unicodedata

import pytest

from gaelp_ray.domain import names

ONE = [("\u1fb7", "\u0391\u0342\u0345"), ("\u1fc7", "\u0397\u0342\u0345"), ("\u1ff7", "\u03a9\u0342\u0345")]


@pytest.mark.parametrize("pair", ONE, ids=ascii)
def test_a_letter_with_two_marks_is_one_name_composed_or_not(pair: tuple[str, str]) -> None:
    assert names.same(*pair)
    assert names.user(pair[0]) == names.user(pair[1])


def _kept_before(name: str) -> str:
    """The form of earlier releases, without the first decomposition."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return unicodedata.normalize("NFKC", folded).casefold().strip()


def test_every_name_that_was_kept_is_found_as_it_is_kept() -> None:
    letters = (chr(code) for code in range(0x30000) if not 0xD800 <= code < 0xE000)
    kept = {_kept_before(each) for each in letters} | {_kept_before(each) for pair in ONE for each in pair}
    assert [each for each in kept if names.canonical(each) != each] == []
