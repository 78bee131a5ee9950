"""When GPUs that are held and not used are told of, and when that ends the attempt."""

from __future__ import annotations

from dataclasses import dataclass

#: Below this share of its time a GPU counts as idle.
IDLE_BELOW = 0.05


@dataclass(frozen=True)
class IdlePolicy:
    """None: never."""

    warn_s: float | None = None
    stop_s: float | None = None


NEVER = IdlePolicy()


@dataclass(frozen=True)
class Idle:
    """GPUs were found idle."""

    #: Since they were last seen busy.
    for_s: float
    #: Of that, since the last look.
    more_s: float
    #: Now is the time to tell, or to stop.
    warn: bool = False
    stop: bool = False


class IdleWatch:
    """Follows one attempt's GPUs. A use that is not known counts as busy."""

    def __init__(self, policy: IdlePolicy) -> None:
        self._policy = policy
        self._since: float | None = None
        self._looked_at = 0.0
        self._warned = False

    def see(self, use: float | None, now: float) -> Idle | None:
        """None while they are busy."""
        if use is None or use >= IDLE_BELOW:
            self._since, self._warned = None, False
            return None
        if self._since is None:
            self._since = self._looked_at = now
        idle_s, more_s = now - self._since, now - self._looked_at
        self._looked_at = now
        warn = not self._warned and _over(idle_s, self._policy.warn_s)
        self._warned = self._warned or warn
        return Idle(idle_s, more_s, warn=warn, stop=_over(idle_s, self._policy.stop_s))


def _over(idle_s: float, limit_s: float | None) -> bool:
    return limit_s is not None and idle_s >= limit_s
