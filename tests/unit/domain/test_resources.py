"""Resource requests, read as Kubernetes quantities and kept as whole numbers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.resources import DEFAULT_REQUEST, Resources, parse_quantity, parse_resources
from tests.builders import GIB, MIB, resources

QUANTITIES: dict[str, tuple[Any, Decimal]] = {
    "a number": (4, Decimal(4)),
    "a fraction": (0.5, Decimal("0.5")),
    "text": ("1", Decimal(1)),
    "a plus sign": ("+1", Decimal(1)),
    "thousandths": ("500m", Decimal("0.5")),
    "no digit before the point": (".5", Decimal("0.5")),
    "no digit after the point": ("5.", Decimal(5)),
    "thousands": ("2k", Decimal(2000)),
    "millions": ("3M", Decimal(3_000_000)),
    "billions": ("1G", Decimal(10**9)),
    "binary thousands": ("1Ki", Decimal(1024)),
    "binary millions": ("512Mi", Decimal(512 * MIB)),
    "binary billions": ("2Gi", Decimal(2 * GIB)),
    "a fraction of a binary billion": ("1.5Gi", Decimal(3 * GIB // 2)),
    "nothing": (0, Decimal(0)),
    "an exponent": ("1e3", Decimal(1000)),
    "a large exponent": ("12E6", Decimal(12_000_000)),
    "an exponent below zero": ("5e-1", Decimal("0.5")),
    "an exponent with a sign": ("1e+3", Decimal(1000)),
    "a small number as Python writes it": (1e-7, Decimal("1e-7")),
    "a large number as Python writes it": (1e15, Decimal(10**15)),
    "millionths": ("100u", Decimal("0.0001")),
    "billionths": ("1n", Decimal("1e-9")),
    "2 to the power 60": ("0.001Ei", Decimal(2**60) / 1000),
    "a sign": ("+1", Decimal(1)),
}


@pytest.mark.parametrize("case", QUANTITIES)
def test_a_quantity_is_read_exactly(case: str) -> None:
    text, expected = QUANTITIES[case]
    assert parse_quantity(text, field="cpu") == expected


NOT_QUANTITIES: dict[str, Any] = {
    "empty": "",
    "a word": "lots",
    "a suffix alone": "Gi",
    "a point alone": ".",
    "an unknown suffix": "8GB!",
    "bytes as people say them": "8GB",
    "the wrong case": "8gi",
    "negative": "-1",
    "a negative number": -1,
    "two numbers": "1 2",
    "a suffix that stands apart": "1 Gi",
    "not a number": float("nan"),
    "infinity": float("inf"),
    "NaN as text": "NaN",
    "a boolean": True,
    "nothing at all": None,
    "a list": [1],
    "hexadecimal": "0x10",
    "digits of another script": "\u0663",
    "a superscript": "\u00b2",
    "spaces around": " 1 ",
    "an exponent without digits": "1e",
    "an exponent of a fraction": "1e0.5",
    "a suffix and an exponent": "1Gie3",
    "an exponent past all sense": "1e9999",
    "a number grouped by underscores": "1_000",
    "a line end behind": "1\n",
}


@pytest.mark.parametrize("case", NOT_QUANTITIES)
def test_what_is_no_quantity_is_refused_with_an_example(case: str) -> None:
    with pytest.raises(InvalidInput, match="`memory` must be a quantity such as '500m', '2Gi' or 4"):
        parse_quantity(NOT_QUANTITIES[case], field="memory")


@pytest.mark.parametrize("text", ["9Ei", "10000P", "9" * 100])
def test_a_quantity_beyond_every_machine_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="too large"):
        parse_quantity(text, field="memory")


def test_a_request_is_read_whole() -> None:
    request = parse_resources({"cpu": "4", "memory": "8Gi", "gpu": 1, "storage": "10G"})
    assert request == Resources(4000, 8 * GIB, 1000, 10**10)


def test_what_a_request_leaves_out_comes_from_the_default() -> None:
    assert parse_resources({}) == DEFAULT_REQUEST
    assert parse_resources({"cpu": 2}, default=resources(1, 4, 1)) == resources(2, 4, 1)


@pytest.mark.parametrize("gpu", ["0", "250m", "999m", "1", "2", 8])
def test_a_share_of_a_gpu_or_whole_gpus_may_be_asked_for(gpu: Any) -> None:
    assert parse_resources({"gpu": gpu}).gpu_milli >= 0


ROUNDED: dict[str, tuple[dict[str, Any], Resources]] = {
    "cpu to thousandths": ({"cpu": "0.0001"}, resources(0.001, 0.5, 0)),
    "a hair more than a thousandth": ({"cpu": "1.0001"}, resources(1.001, 0.5, 0)),
    "memory to bytes": ({"memory": "33554432.5"}, Resources(1000, 33554433)),
    "a gpu to thousandths": ({"gpu": "0.0999"}, resources(1, 0.5, 0.1)),
}


@pytest.mark.parametrize("case", ROUNDED)
def test_what_is_finer_than_can_be_counted_is_rounded_up(case: str) -> None:
    given, expected = ROUNDED[case]
    assert parse_resources(given) == expected


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "one and a half gpus": ({"gpu": 1.5}, r"gpu` must be whole, or a share below 1"),
    "2500 thousandths of a gpu": ({"gpu": "2500m"}, r"gpu` must be whole, or a share below 1"),
    "no cpu": ({"cpu": 0}, r"cpu` must be above 0"),
    "no memory": ({"memory": "0"}, r"memory` must be above 0"),
    "thousandths of a byte": ({"memory": "500m"}, r"memory` is at least '32Mi', or 0 for none; got '500m'\."),
    "bytes of memory where mebibytes were meant": (
        {"memory": "512"},
        r"memory` is at least '32Mi', or 0 for none; got '512', which is 512 bytes; write '512Mi'",
    ),
    "a kibibyte of memory": ({"memory": "1Ki"}, r"memory` is at least '32Mi'"),
    "a byte less than the least memory": ({"memory": 32 * MIB - 1}, r"memory` is at least '32Mi'"),
    "a share of a gpu that no process can work with": ({"gpu": "0.0005"}, r"gpu` is at least '10m'"),
    "nine thousandths of a gpu": ({"gpu": "9m"}, r"gpu` is at least '10m', a hundredth of a GPU"),
    "bytes of storage": (
        {"storage": 10},
        r"storage` is at least '1Mi', or 0 for none; got 10, which",
    ),
    "an unknown resource": ({"tpu": 1}, r"unknown resource 'tpu'; known are cpu, memory, gpu, storage"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_request_that_no_job_could_run_with_is_refused(case: str) -> None:
    given, words = REFUSED[case]
    with pytest.raises(InvalidInput, match=words):
        parse_resources(given)


WRITTEN = {
    "whole": (resources(4, 8, 1), {"cpu": "4", "memory": "8Gi", "gpu": "1", "storage": "0"}),
    "fractions": (
        resources(0.5, 0.5, 0.25),
        {"cpu": "500m", "memory": "512Mi", "gpu": "250m", "storage": "0"},
    ),
    "odd bytes": (
        Resources(1, 1025, 0, 1024**4),
        {"cpu": "1m", "memory": "1025", "gpu": "0", "storage": "1Ti"},
    ),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_a_request_is_written_as_users_write_it(case: str) -> None:
    request, expected = WRITTEN[case]
    assert request.to_quantities() == expected


ROOM = resources(4, 16, 1)
FITS = {
    "the same": (ROOM, True),
    "less": (resources(1, 1, 0), True),
    "too much cpu": (resources(4.001, 1, 0), False),
    "too much memory": (resources(1, 16.5, 0), False),
    "too much gpu": (resources(1, 1, 2), False),
    "any storage": (Resources(1, 1, 0, 10**18), True),
}


@pytest.mark.parametrize("case", FITS)
def test_a_request_fits_when_every_part_that_a_node_has_fits(case: str) -> None:
    request, fits = FITS[case]
    assert request.fits_on(ROOM) is fits


def test_what_is_added_can_be_taken_away() -> None:
    one, other = Resources(1, 2, 3, 4), Resources(10, 20, 30, 40)
    assert one + other == Resources(11, 22, 33, 44)
    assert one + other - other == one


def test_equal_requests_have_one_shape_whatever_they_store() -> None:
    assert Resources(1, 2, 3, 4).shape == Resources(1, 2, 3, 5).shape
    assert len({Resources(1, 2, 3).shape, Resources(2, 2, 3).shape, Resources(1, 3, 3).shape}) == 3
