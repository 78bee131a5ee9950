"""Which seeds are for what, so that no day is both learned from and judged on."""

from __future__ import annotations

import numpy as np

#: Days a trainer plays every iteration to report comparable progress; never trained on.
REFERENCE = range(2**29, 2**29 + 8)

#: Days baselines are tuned on.
TUNING = range(2**28, 2**28 + 48)

_FIRST_TRAINING, _END_TRAINING = 2**30, 2**31


def training(rng: np.random.Generator, count: int) -> list[int]:
    """Draw ``count`` seeds to train on."""
    seeds: list[int] = rng.integers(_FIRST_TRAINING, _END_TRAINING, count).tolist()
    return seeds


def held_out(count: int) -> range:
    """The first ``count`` of the seeds reserved for judging.

    Raises:
        ValueError: there are not so many.
    """
    if not 0 <= count <= TUNING.start:
        raise ValueError(f"there are {TUNING.start} held-out seeds, not {count}")
    return range(count)


def is_held_out(seed: int) -> bool:
    """Whether a policy may be judged on the day of ``seed``."""
    return 0 <= seed < TUNING.start
