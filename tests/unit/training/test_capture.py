"""Output is captured in order, without secrets, and up to a limit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO

import pytest
from fake_link import PATIENCE_S

from gaelp_ray.domain.logs import left_out
from gaelp_ray.training.capture import Capture
from gaelp_ray.training.redaction import Redactor


class Taker:
    """Takes pieces of a log; may be away."""

    def __init__(self) -> None:
        self.taken = b""
        self.away = False

    def __call__(self, start_byte: int, content: bytes) -> None:
        if self.away:
            raise ConnectionError
        assert start_byte == len(self.taken), "a piece is missing or came twice"
        self.taken += content


@pytest.fixture
def pipe() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The reading and the writing end."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as read_end, os.fdopen(writing, "wb", buffering=0) as write_end:
        yield read_end, write_end


def captured(pipe: tuple[IO[bytes], IO[bytes]], written: bytes, *, limit: int, secret: str = "") -> bytes:
    reading, writing = pipe
    capture = Capture(reading, redactor=Redactor([secret]), limit_bytes=limit)
    writing.write(written)
    writing.close()
    capture.finish(PATIENCE_S)
    take = Taker()
    capture.flush(take)
    return take.taken


#: id: (limit, what is kept of "0123456789")
LIMITS = {
    "above": (11, b"0123456789"),
    "exact": (10, b"0123456789"),
    "below": (9, b"0123" + left_out(1) + b"56789"),
    "far below": (4, b"01" + left_out(6) + b"89"),
    "nothing": (0, left_out(10)),
}


@pytest.mark.parametrize("case", LIMITS)
def test_of_output_past_its_limit_the_beginning_and_the_end_are_kept(
    pipe: tuple[IO[bytes], IO[bytes]], case: str
) -> None:
    limit, expected = LIMITS[case]
    assert captured(pipe, b"0123456789", limit=limit) == expected


def test_secrets_are_gone_before_anything_is_kept(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    assert captured(pipe, b"the key is sesame-open", limit=100, secret="sesame") == (
        b"the key is [redacted]-open"
    )


def test_what_was_held_back_as_a_possible_secret_comes_at_the_end(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    assert captured(pipe, b"open sesa", limit=100, secret="sesame") == b"open sesa"


def test_a_piece_that_could_not_be_sent_is_sent_later_and_once(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    reading, writing = pipe
    capture = Capture(reading, redactor=Redactor([]), limit_bytes=100)
    writing.write(b"of the job\n")
    writing.close()
    capture.finish(PATIENCE_S)
    take = Taker()
    take.away = True
    with pytest.raises(ConnectionError):
        capture.flush(take)
    take.away = False
    capture.write("of the supervisor")
    capture.flush(take)
    capture.flush(take)
    assert take.taken == b"of the job\ngaelp: of the supervisor\n"


def test_lines_of_the_supervisor_count_for_the_limit(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    """A job can make it write as many as it likes, by stopping and continuing its process."""
    reading, writing = pipe
    capture = Capture(reading, redactor=Redactor([]), limit_bytes=1000)
    for number in range(10_000):
        capture.write(f"line {number}")
    writing.close()
    capture.finish(PATIENCE_S)
    take = Taker()
    capture.flush(take)
    assert len(take.taken) < 1100
    assert take.taken.startswith(b"gaelp: line 0\n")
    assert take.taken.endswith(b"gaelp: line 9999\n")
