"""Known secrets never pass, whole or in pieces."""

from __future__ import annotations

import pytest

from gaelp_ray.training.redaction import MIN_LENGTH, Redactor

#: id: (secrets, pieces of the stream, what passes)
STREAMS: dict[str, tuple[list[str], list[bytes], bytes]] = {
    "no secrets": ([], [b"plain ", b"text"], b"plain text"),
    "nothing secret": (["sesame"], [b"plain ", b"text"], b"plain text"),
    "whole": (["sesame"], [b"a sesame b"], b"a [redacted] b"),
    "twice": (["sesame"], [b"sesamesesame"], b"[redacted][redacted]"),
    "in two pieces": (["sesame"], [b"a ses", b"ame b"], b"a [redacted] b"),
    "byte by byte": (["sesame"], [bytes([b]) for b in b"a sesame b"], b"a [redacted] b"),
    "begun and not ended": (["sesame"], [b"a ses", b"sion"], b"a session"),
    "begun at the end": (["sesame"], [b"a ses"], b"a ses"),
    "a false start inside": (["aabaac"], [b"aabaab", b"aac"], b"aab[redacted]"),
    "one within the other": (["sesame", "open-sesame!"], [b"open-sesame!"], b"[redacted]"),
    "one begins with the other, in two pieces": (
        ["sesame", "sesame-open"],
        [b"sesame", b"-open"],
        b"[redacted]",
    ),
    "only the shorter, in two pieces": (["sesame", "sesame-open"], [b"sesame", b"-shut"], b"[redacted]-shut"),
    "only the shorter, at the end": (["sesame", "sesame-open"], [b"sesame"], b"[redacted]"),
    "the end of one begins the other": (
        ["passwords", "ds-token"],
        [b"passwords", b"-token"],
        b"[redacted]-token",
    ),
    "a pattern to a careless matcher": (["a.c*(+["], [b"a.c*(+[ abc"], b"[redacted] abc"),
    "not ASCII": (["gebühren"], ["x gebühren".encode()[:7], "x gebühren".encode()[7:]], b"x [redacted]"),
}


@pytest.mark.parametrize("case", STREAMS)
def test_of_a_stream_this_passes(case: str) -> None:
    secrets, pieces, expected = STREAMS[case]
    redactor = Redactor(secrets)
    passed = [redactor.feed(piece) for piece in pieces]
    assert b"".join(passed) + redactor.flush() == expected


def test_what_cannot_be_a_secret_passes_at_once() -> None:
    assert Redactor(["sesame"]).feed(b"step 1\n") == b"step 1\n"


def test_short_values_are_left_alone() -> None:
    short, long_enough = "x" * (MIN_LENGTH - 1), "x" * MIN_LENGTH
    assert Redactor([short, ""]).redact(f"a {short} b") == f"a {short} b"
    assert Redactor([long_enough]).redact(f"a {long_enough} b") == "a [redacted] b"
