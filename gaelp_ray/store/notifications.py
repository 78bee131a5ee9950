"""What PostgreSQL tells those who listen."""

from __future__ import annotations

from typing import Any

from gaelp_ray.store.engine import Store, translate


class Listener:
    """A connection of its own, outside the pool, that hears of one channel.

    Nothing is promised: what is told while the connection is down is not heard, so who listens also looks.
    """

    def __init__(self, store: Store, channel: str) -> None:
        try:
            pooled = store.engine.raw_connection()
            connection: Any = pooled.dbapi_connection
            self._connection = connection
            pooled.detach()
            self._connection.autocommit = True
            with self._connection.cursor() as cursor:
                cursor.execute(f"LISTEN {channel}")
            #: To wait for; it stays the same when the connection breaks.
            self.descriptor = int(self._connection.fileno())
        except Exception as error:
            raise translate(error) from error

    def heard(self) -> bool:
        """Whether anything was told since the last call; does not wait. Raises once it is broken."""
        try:
            self._connection.poll()
        except Exception as error:
            raise translate(error) from error
        told = bool(self._connection.notifies)
        self._connection.notifies.clear()
        return told

    def close(self) -> None:
        self._connection.close()
