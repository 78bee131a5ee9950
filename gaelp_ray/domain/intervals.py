"""Confidence intervals."""

from __future__ import annotations

import math


def student_t(freedom: float, confidence: float = 0.95) -> float:
    """What Student's t with ``freedom`` degrees stays within, either way, with probability ``confidence``.

    With t = sqrt(freedom) tan(a), the density of the angle a is proportional to cos(a) ** (freedom - 1) on
    (-pi/2, pi/2). Its integral by the trapezoid rule is inverted; good to four digits or better. ``freedom``
    is at least 1.
    """
    import numpy as np  # noqa: PLC0415 - keeps `gaelp --help` quick

    angle = np.linspace(0, math.pi / 2, 200_001)
    density = np.cos(angle) ** (freedom - 1)
    area = np.concatenate(([0.0], np.cumsum(density[1:] + density[:-1])))
    return float(freedom**0.5 * np.tan(np.interp(confidence * area[-1], area, angle)))
