"""Those who stay: followed logs and WebSockets. So many of one user, and so many in all, on each replica."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

from gaelp_ray.domain.errors import TooManyFollowers

#: A seat may be free again by then.
_RETRY_S = 5


class Followers:
    """Counts who stays. One user's followers never take the seats of others."""

    def __init__(self, *, of_user: int, in_all: int) -> None:
        self._of_user = of_user
        self._in_all = in_all
        self._seated: Counter[str] = Counter()

    @contextlib.contextmanager
    def seat(self, user: str) -> Iterator[None]:
        """Stay inside the block; raises ``TooManyFollowers`` when the user, or everybody, has all seats."""
        self.take(user)
        try:
            yield
        finally:
            self.leave(user)

    def take(self, user: str) -> None:
        if self._seated[user] >= self._of_user:
            raise TooManyFollowers(
                f"You follow {self._of_user} logs and agents already; end one, or ask without following.",
                limit=self._of_user,
                retry_after_s=_RETRY_S,
            )
        if self._seated.total() >= self._in_all:
            raise TooManyFollowers(
                f"{self._in_all} logs and agents are followed already; ask without following, or later.",
                limit=self._in_all,
                retry_after_s=_RETRY_S,
            )
        self._seated[user] += 1

    def leave(self, user: str) -> None:
        self._seated[user] -= 1
        if not self._seated[user]:
            del self._seated[user]
