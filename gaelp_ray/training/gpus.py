"""How busy a worker's GPUs are, as far as their driver tells."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any

#: The use of the busiest GPU, 0 to 1; None where it is not known, which never counts as idle.
Sampler = Callable[[], float | None]


def unknown() -> float | None:
    return None


def sampler(gpu_milli: int) -> Sampler:
    """A sampler of the GPUs that this worker has to itself.

    The driver counts by device. Its counts by process name processes as the host sees them, which a container
    does not; so the use of a shared GPU is not known, nor that of GPUs that are only a number to Ray.
    """
    if gpu_milli < 1000:
        return unknown
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
        devices = [_device(nvml, name) for name in visible]
    except Exception:  # no library, no driver, or no such device: all of them mean that nothing is known
        return unknown
    return lambda: _busiest(nvml, devices)


def _device(nvml: Any, name: str) -> Any:
    if name.isdecimal():
        return nvml.nvmlDeviceGetHandleByIndex(int(name))
    return nvml.nvmlDeviceGetHandleByUUID(name)


def _busiest(nvml: Any, devices: Sequence[Any]) -> float | None:
    try:
        return max((nvml.nvmlDeviceGetUtilizationRates(each).gpu / 100 for each in devices), default=None)
    except nvml.NVMLError:
        return None
