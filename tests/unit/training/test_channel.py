"""The wire between a training process and its supervisor."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_link import PATIENCE_S

from gaelp_ray.training import channel as channels
from gaelp_ray.training.channel import Channel


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = Channel.pair()
    other = Channel(theirs)
    yield ours, other
    ours.close()
    other.close()


#: id: (sent, received)
VALUES: dict[str, tuple[Any, Any]] = {
    "plain": ({"a": [1, 2.5, None, True, "ü"]}, {"a": [1, 2.5, None, True, "ü"]}),
    "a numpy scalar": (np.float32(0.5), 0.5),
    "a numpy array": (np.arange(3), [0, 1, 2]),
    "a path": (Path("/tmp/x"), "/tmp/x"),
    "anything else": (ValueError("no"), "no"),
    "NaN": (float("nan"), None),
    "infinity, deep inside": ([{"x": float("inf")}], [{"x": None}]),
    "NUL in text": ("a\x00b", "a\ufffdb"),
    "NUL in a name": ({"a\x00": 1}, {"a\ufffd": 1}),
    "half of a surrogate pair": ("a\ud800", "a?"),
    "line ends": ("a\nb\r\n", "a\nb\r\n"),
}


@pytest.mark.parametrize("case", VALUES)
def test_a_message_arrives_as_json_that_a_database_can_hold(ends: tuple[Channel, Channel], case: str) -> None:
    ours, theirs = ends
    sent, received = VALUES[case]
    ours.send({"value": sent})
    assert theirs.receive() == {"value": received}


def test_messages_arrive_in_order_until_the_other_end_closes(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    for number in range(3):
        ours.send({"n": number})
    ours.close()
    assert list(theirs) == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_messages_of_many_threads_are_never_mixed(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    long = "x" * 100_000
    threads = [threading.Thread(target=ours.send, args=({"n": n, "long": long},)) for n in range(8)]
    for thread in threads:
        thread.start()
    received = [theirs.receive() for _ in threads]
    assert {message["n"] for message in received if message and message["long"] == long} == set(range(8))
    for thread in threads:
        thread.join(PATIENCE_S)


def test_a_message_that_was_cut_off_is_none() -> None:
    raw, theirs = socket.socketpair()
    other = Channel(theirs)
    raw.sendall(b'{"kind": "end"')
    raw.close()
    assert other.receive() is None
    other.close()


def test_closing_wakes_the_reader(ends: tuple[Channel, Channel]) -> None:
    ours, _theirs = ends
    heard: list[object] = []
    reader = threading.Thread(target=lambda: heard.append(ours.receive()))
    reader.start()
    ours.close()
    reader.join(PATIENCE_S)
    assert heard == [None]


def test_a_message_too_long_to_be_read_is_not_sent(
    ends: tuple[Channel, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = ends
    monkeypatch.setattr(channels, "MAX_LINE", 100)
    with pytest.raises(ValueError, match="bytes are too much to report; the most is 100"):
        ours.send({"x": "y" * 100})
    ours.send({"x": "short"})
    assert theirs.receive() == {"x": "short"}
