"""Logs are read from the end, and on from anywhere, without a byte missing or twice."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from gaelp_ray.domain.attempts import Attempt
from gaelp_ray.domain.errors import NotFound
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.services import attempts as attempt_service
from gaelp_ray.services import logs as service
from gaelp_ray.services.logs import CHUNK, LogPart
from gaelp_ray.store import logs as log_store
from gaelp_ray.store.logs import LogEnd
from tests.builders import ANN, BOB, World
from tests.conftest import Sql


@pytest.fixture
def attempt(world: World) -> Attempt:
    return world.running()


def append(world: World, attempt: Attempt, start_byte: int, content: bytes) -> None:
    world.store.transact(attempt_service.append_log, attempt.id, start_byte, content, now=world.now)


def tail(world: World, attempt: Attempt, lines: int) -> LogPart:
    return world.store.read(service.tail, attempt.id, lines=lines)


def read_on(world: World, attempt: Attempt, from_byte: int) -> LogPart:
    return world.store.read(service.read_on, attempt.id, from_byte=from_byte)


def read_all(world: World, attempt: Attempt, from_byte: int = 0) -> bytes:
    content = b""
    while (part := read_on(world, attempt, from_byte)).content:
        content += part.content
        from_byte = part.next_byte
    return content


def test_an_attempt_that_printed_nothing_has_an_empty_log(world: World, attempt: Attempt) -> None:
    assert tail(world, attempt, 10) == LogPart(attempt.id, b"", 0, complete=False)
    assert read_on(world, attempt, 0) == LogPart(attempt.id, b"", 0, complete=False)


def test_the_tail_is_the_last_lines_across_pieces(world: World, attempt: Attempt) -> None:
    append(world, attempt, 0, b"one\ntwo\nth")
    append(world, attempt, 10, b"ree\nfour")
    assert tail(world, attempt, 2).content == b"three\nfour"
    assert tail(world, attempt, 1).content == b"four"
    assert tail(world, attempt, 0) == LogPart(attempt.id, b"", 18, complete=False)
    assert tail(world, attempt, 100).content == b"one\ntwo\nthree\nfour"


def test_a_piece_sent_twice_is_stored_once(world: World, attempt: Attempt) -> None:
    for _ in range(2):
        append(world, attempt, 0, b"once\n")
    assert read_all(world, attempt) == b"once\n"


def test_reading_goes_on_from_any_byte(world: World, attempt: Attempt) -> None:
    whole = b"0123456789"
    append(world, attempt, 0, whole[:4])
    append(world, attempt, 4, whole[4:])
    for start in range(len(whole) + 1):
        assert read_all(world, attempt, start) == whole[start:]


def test_it_is_complete_only_when_it_has_ended_and_was_read_to_its_end(
    world: World, attempt: Attempt
) -> None:
    append(world, attempt, 0, b"last words\n")
    assert not read_on(world, attempt, 11).complete
    world.finish(attempt, EndCause.SUCCESS)
    assert not read_on(world, attempt, 0).complete
    assert read_on(world, attempt, 11).complete
    assert tail(world, attempt, 10) == LogPart(attempt.id, b"last words\n", 11, complete=True)


def test_the_tail_of_a_log_in_very_many_small_pieces_is_its_end(
    world: World, attempt: Attempt, sql: Sql
) -> None:
    """A job that prints a line now and then for a day, each in a piece of its own."""
    sql(
        "INSERT INTO log_chunks (attempt_id, start_byte, content, at) "
        "SELECT :attempt, 10 * n, convert_to(lpad(n::text, 9, '.') || chr(10), 'UTF8'), now() "
        "FROM generate_series(0, 2499) AS n",
        attempt=attempt.id,
    )
    found = tail(world, attempt, 2)
    assert (found.content, found.next_byte) == (b".....2498\n.....2499\n", 25_000)
    assert len(read_all(world, attempt)) == 25_000


def test_the_tail_of_a_long_log_is_at_most_one_chunk(world: World, attempt: Attempt) -> None:
    line = b"x" * 99 + b"\n"
    append(world, attempt, 0, line * 5000)
    found = tail(world, attempt, 100_000)
    assert len(found.content) == CHUNK
    assert found.next_byte == 500_000
    assert read_all(world, attempt) == line * 5000


def test_what_is_printed_while_the_tail_is_read_is_read_next(
    world: World, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(world, attempt, 0, b"before\n")
    size = log_store.size

    def printing_meanwhile(connection: Connection, attempt_id: int) -> int:
        found = size(connection, attempt_id)
        append(world, attempt, found, b"meanwhile\n")
        world.finish(attempt, EndCause.SUCCESS)
        return found

    monkeypatch.setattr(log_store, "size", printing_meanwhile)
    found = tail(world, attempt, 10)
    assert not found.complete, "it grew while it was read"
    assert found.content + read_all(world, attempt, found.next_byte) == b"before\nmeanwhile\n"


def test_the_log_of_a_job_is_that_of_its_newest_attempt_or_of_the_one_asked_for(world: World) -> None:
    job = world.submit()
    assert world.store.read(service.attempt_of, job.id, None, by=ANN) is None
    first = world.running(job)
    world.finish(first, EndCause.NODE_LOST)
    second = world.running(job)
    assert world.store.read(service.attempt_of, job.id, None, by=ANN) == second.id
    assert world.store.read(service.attempt_of, job.id, 1, by=ANN) == first.id
    with pytest.raises(NotFound, match=f"Job {job.id} has no attempt 3; it has 2"):
        world.store.read(service.attempt_of, job.id, 3, by=ANN)
    with pytest.raises(NotFound, match="There is no job"):
        world.store.read(service.attempt_of, job.id, None, by=BOB)


def test_of_a_log_past_its_limit_the_beginning_and_the_end_are_kept(world: World, attempt: Attempt) -> None:
    lines = [f"line {number:04d}\n".encode() for number in range(1000)]
    for number, line in enumerate(lines):
        world.store.transact(
            attempt_service.append_log, attempt.id, 10 * number, line, now=world.now, limit_bytes=1000
        )
    found = read_all(world, attempt)
    begin, mark, end = found.partition(b"\ngaelp: 9,000 bytes are left out here")
    assert begin == b"".join(lines[:50])
    assert mark
    assert end.endswith(b"\n" + b"".join(lines[-50:]))
    assert tail(world, attempt, 3) == LogPart(attempt.id, b"".join(lines[-3:]), 10_000, complete=False)


def test_who_follows_a_log_that_is_cut_meanwhile_goes_on_behind_the_gap(
    world: World, attempt: Attempt
) -> None:
    def add(number: int) -> None:
        content = f"line {number:04d}\n".encode()
        world.store.transact(
            attempt_service.append_log, attempt.id, 10 * number, content, now=world.now, limit_bytes=1000
        )

    for number in range(100):
        add(number)
    position = read_on(world, attempt, 0).next_byte
    assert position == 1000
    for number in range(100, 500):
        add(number)
    part = read_on(world, attempt, position)
    assert part.content.startswith(b"\ngaelp: 3,500 bytes are left out here")
    assert part.content.endswith(b"line 0499\n")
    assert part.next_byte == 5000


def test_the_ends_of_many_logs_are_one_question(world: World) -> None:
    silent, talking, over = world.running(), world.running(), world.running()
    append(world, talking, 0, b"one\n")
    append(world, talking, 4, b"two\n")
    append(world, over, 0, b"bye")
    world.finish(over, EndCause.SUCCESS)
    found = world.store.read(log_store.ends, [silent.id, talking.id, over.id, 10**9])
    assert found == {
        silent.id: LogEnd(0, ended=False),
        talking.id: LogEnd(8, ended=False),
        over.id: LogEnd(3, ended=True),
    }
