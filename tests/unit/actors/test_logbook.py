"""One log of many workers: in order for each, without gaps, and nothing twice."""

from __future__ import annotations

import asyncio

import pytest

from gaelp_ray.actors.logbook import Logbook


class Disk:
    def __init__(self) -> None:
        self.content = b""
        self.fails = 0

    async def __call__(self, start_byte: int, content: bytes, *, now: object) -> None:
        await asyncio.sleep(0)
        if self.fails:
            self.fails -= 1
            raise ConnectionError
        assert start_byte == len(self.content), "a gap, or a piece twice"
        self.content += content


def test_pieces_of_all_workers_come_one_after_the_other() -> None:
    async def scenario() -> bytes:
        disk = Disk()
        book = Logbook(disk)
        await asyncio.gather(book.add(0, 0, b"a\n"), book.add(1, 0, b"b\n"), book.add(0, 2, b"c\n"))
        return disk.content

    assert sorted(asyncio.run(scenario()).splitlines()) == [b"a", b"b", b"c"]


def test_a_piece_sent_again_is_stored_once_and_what_is_new_in_it_is_kept() -> None:
    async def scenario() -> bytes:
        disk = Disk()
        book = Logbook(disk)
        for start, piece in ((0, b"one\n"), (0, b"one\n"), (0, b"one\ntwo\n"), (8, b"three\n")):
            await book.add(1, start, piece)
        return disk.content

    assert asyncio.run(scenario()) == b"one\ntwo\nthree\n"


def test_a_piece_that_could_not_be_stored_may_be_sent_again() -> None:
    async def scenario() -> bytes:
        disk = Disk()
        book = Logbook(disk)
        disk.fails = 1
        with pytest.raises(ConnectionError):
            await book.add(0, 0, b"one\n")
        await book.add(0, 0, b"one\n")
        return disk.content

    assert asyncio.run(scenario()) == b"one\n"
