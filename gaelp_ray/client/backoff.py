"""How long to pause before trying again."""

from __future__ import annotations

import random

BASE_S = 0.2
CAP_S = 5.0


def pause_s(failures: int) -> float:
    """Seconds to wait after so many failures in a row (1, 2, ...): doubling, capped, spread by a quarter.

    The spread keeps the clients of a replica that went from all coming back at once.
    """
    return min(CAP_S, BASE_S * 2.0 ** min(failures - 1, 10)) * random.uniform(0.75, 1.0)  # noqa: S311
