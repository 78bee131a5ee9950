"""GPUs that are held and not used: seen, told of, and by policy taken back."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from fake_link import FakeLink, Start

from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.training import gpus
from gaelp_ray.training.idleness import Idle, IdlePolicy, IdleWatch

POLICY = IdlePolicy(warn_s=600, stop_s=3600)


def seen(watch: IdleWatch, *uses: tuple[float, float | None]) -> list[Idle | None]:
    return [watch.see(use, now) for now, use in uses]


def test_idleness_is_told_of_once_and_then_ends_the_attempt() -> None:
    found = seen(IdleWatch(POLICY), (0, 0.0), (300, 0.04), (600, 0.0), (900, 0.0), (3600, 0.0))
    assert found == [
        Idle(0, 0),
        Idle(300, 300),
        Idle(600, 300, warn=True),
        Idle(900, 300),
        Idle(3600, 2700, stop=True),
    ]


def test_a_gpu_that_works_again_starts_the_count_anew() -> None:
    found = seen(IdleWatch(POLICY), (0, 0.0), (600, 0.0), (610, 0.05), (620, 0.0), (1220, 0.0))
    assert found == [
        Idle(0, 0),
        Idle(600, 600, warn=True),
        None,
        Idle(0, 0),
        Idle(600, 600, warn=True),
    ]


def test_a_use_that_is_not_known_never_counts_as_idle() -> None:
    assert seen(IdleWatch(POLICY), (0, 0.0), (599, None), (600, 0.0), (7200, None)) == [
        Idle(0, 0),
        None,
        Idle(0, 0),
        None,
    ]


def test_without_a_policy_idleness_is_counted_and_nothing_done() -> None:
    assert seen(IdleWatch(IdlePolicy()), (0, 0.0), (1e6, 0.0)) == [Idle(0, 0), Idle(1e6, 1e6)]


def test_the_owner_is_told_and_the_log_says_so(start: Start, link: FakeLink) -> None:
    place: dict[str, Any] = {"idle": IdlePolicy(warn_s=0.0, stop_s=0.3), "gpu_use": lambda: 0.0}
    outcome = start("jobs:wait", place=place).outcome()
    assert outcome.cause is EndCause.IDLE
    assert outcome.message == "Its GPUs were idle for 0.3 s by step 1; ask for none, or use them."
    assert link.words == ["The job's GPUs have been idle for 0 min."]
    assert "gaelp: The job's GPUs have been idle for 0 min.\n" in link.output
    assert "gaelp: told to stop: idle\n" in link.output
    assert 0.2 < sum(link.idle_s) < 5


def test_a_job_whose_gpus_cannot_be_seen_is_left_alone(start: Start, link: FakeLink) -> None:
    place: dict[str, Any] = {"idle": IdlePolicy(warn_s=0.0, stop_s=0.0), "gpu_use": gpus.unknown}
    assert start("jobs:succeed", place=place).outcome().cause is EndCause.SUCCESS
    assert (link.idle_s, link.words) == ([], [])


class FakeDriver(SimpleNamespace):
    """As much of NVML as is asked: devices by number or name, and how busy each is."""

    class NVMLError(Exception):
        pass

    def __init__(self, **busy: int) -> None:
        super().__init__(busy=busy)

    def nvmlInit(self) -> None:  # noqa: N802 - the library's names
        pass

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        return self._device(f"gpu{index}")

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        return self._device(uuid)

    def nvmlDeviceGetUtilizationRates(self, device: str) -> SimpleNamespace:  # noqa: N802
        if self.busy[device] < 0:
            raise self.NVMLError
        return SimpleNamespace(gpu=self.busy[device])

    def _device(self, name: str) -> str:
        if name not in self.busy:
            raise self.NVMLError
        return name


#: the devices and how busy they are, what the worker sees, its share in thousandths, what is known
USES: dict[str, tuple[dict[str, int], str, int, float | None]] = {
    "one of its own": ({"gpu0": 7, "gpu1": 90}, "0", 1000, 0.07),
    "the busiest of two": ({"gpu0": 7, "gpu1": 90}, "0,1", 2000, 0.9),
    "one by its name": ({"uuid": 0}, "uuid", 1000, 0.0),
    "a shared one": ({"gpu0": 0}, "0", 500, None),
    "none that it sees": ({"gpu0": 0}, "", 1000, None),
    "one that is only a number": ({}, "0", 1000, None),
    "one that does not answer": ({"gpu0": -1}, "0", 1000, None),
}


@pytest.mark.parametrize("case", USES)
def test_what_the_driver_knows_of(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    busy, visible, share, known = USES[case]
    monkeypatch.setitem(sys.modules, "pynvml", FakeDriver(**busy))  # type: ignore[arg-type]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus.sampler(share)() == known


def test_without_the_library_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpus.sampler(1000)() is None
