"""Services on one machine take ports that nobody else takes meanwhile, each always the same."""

from __future__ import annotations

import socket

import pytest

from gaelp_ray.cli.ports import free_port
from gaelp_ray.config import Settings

PREFERRED = (9101, 8404, 8500, 9500, 44217, 44227, 52365)


def ports_of(port: int) -> list[int]:
    return [free_port(each, Settings(port=port)) for each in PREFERRED]


def test_a_service_beside_the_usual_one_has_ports_of_its_own_and_keeps_them() -> None:
    one, other = ports_of(21_000), ports_of(21_001)
    assert one == ports_of(21_000)
    assert len({*one, *other}) == 2 * len(PREFERRED)
    assert max(one + other) < 32_768, "the system gives those from there on to clients"


@pytest.mark.parametrize("port", [21_000, Settings.model_fields["port"].default])
def test_a_port_that_is_taken_is_left_alone(port: int) -> None:
    with socket.socket() as other:
        other.bind(("", 0))
        preferred = other.getsockname()[1]
        assert free_port(preferred, Settings(port=port)) != preferred
    chosen = free_port(9101, Settings(port=21_000))
    with socket.socket() as other:
        other.bind(("", chosen))
        other.listen()
        assert free_port(9101, Settings(port=21_000)) != chosen
