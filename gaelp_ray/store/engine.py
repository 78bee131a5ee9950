"""The door to PostgreSQL: transactions for change, autocommit for single reads, a pool a process for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from gaelp_ray.domain.errors import Busy, Conflict, GaelpError, InvalidInput, Unavailable

P = ParamSpec("P")
R = TypeVar("R")

#: Serialisation failures and deadlocks: nothing happened, the same transaction may run again.
_RETRYABLE = {"40001", "40P01"}
_TRIES = 3


class LostRace(Exception):
    """A use case found its footing gone: its transaction is rolled back and runs again."""


class Store:
    """Runs functions of a connection, each as one transaction or one read."""

    def __init__(self, url: str, *, pool_size: int) -> None:
        half = max(1, pool_size // 2)
        self._engine = _engine(url, pool_size=max(1, pool_size - half))
        # No BEGIN and no ROLLBACK around a single SELECT: two round trips saved on every read. A pool of its
        # own, because switching a connection to autocommit and back costs a read as much as its query.
        self._reading = _engine(url, pool_size=half, isolation_level="AUTOCOMMIT", pool_reset_on_return=None)

    @property
    def engine(self) -> Engine:
        return self._engine

    def transact(
        self, use_case: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run ``use_case(connection, ...)`` in one transaction; it commits when the call returns.

        Deadlocks are tried again, and connections that had gone stale. Raises ``Unavailable`` when the
        database does not answer; then nothing was changed, unless the answer to the commit itself was lost.
        """
        for attempt in range(1, _TRIES + 1):
            committing = False
            try:
                with self._engine.begin() as tx:
                    result = use_case(tx, *args, **kwargs)
                    committing = True
            except (SQLAlchemyError, ValueError, LostRace) as error:
                if attempt < _TRIES and _may_run_again(error, committing=committing):
                    continue
                raise translate(error) from error
            return result
        raise AssertionError("unreachable")

    def read(self, query: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a query outside a transaction; tried once more on a connection that had gone stale."""
        for last in (False, True):
            try:
                with self._reading.connect() as connection:
                    return query(connection, *args, **kwargs)
            except DBAPIError as error:
                if last or not error.connection_invalidated:
                    raise translate(error) from error
            except (SQLAlchemyError, ValueError) as error:
                raise translate(error) from error
        raise AssertionError("unreachable")

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A reading connection to hold for several queries."""
        try:
            with self._reading.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise translate(error) from error

    def close(self) -> None:
        self._engine.dispose()
        self._reading.dispose()


def _engine(url: str, *, pool_size: int, **options: Any) -> Engine:
    return create_engine(
        _driver_url(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        pool_recycle=1800,
        connect_args={"connect_timeout": 5, "application_name": "gaelp"},
        **options,
    )


def _may_run_again(error: Exception, *, committing: bool) -> bool:
    """Whether a transaction surely changed nothing, and may fare better."""
    if isinstance(error, LostRace) or _sqlstate(error) in _RETRYABLE:
        return True
    return isinstance(error, DBAPIError) and error.connection_invalidated and not committing


_NOT_TEXT = "Text may not hold NUL characters or half of a surrogate pair."
_BY_STATE: dict[str, GaelpError] = {
    "23505": Conflict("Something with this name or key exists already; choose another."),
    "22003": InvalidInput("A number is too large for the database."),
    "22P02": InvalidInput("Text may hold only whole Unicode characters."),
    "22P05": InvalidInput(_NOT_TEXT),
}
_BUSY = "Other changes were in the way three times; nothing was changed, try again."
_TOO_LONG = "Something is too long for the database; send less."
_GONE = "The database does not answer; nothing was changed, try again."
#: SQLSTATE classes: connection exception, insufficient resources, operator intervention.
_GONE_CLASSES = {"08", "53", "57"}
#: SQLSTATE class: program limit exceeded, as by an index row that is too long. To the driver, operational.
_LIMIT_CLASS = "54"


def translate(error: Exception) -> Exception:
    """The product's error for a database error; one that is our own mistake is left as it is."""
    # What the driver says of text that it cannot send.
    if isinstance(error, UnicodeEncodeError) or (isinstance(error, ValueError) and "NUL" in str(error)):
        return InvalidInput(_NOT_TEXT)
    state = _sqlstate(error) or ""
    if isinstance(error, LostRace) or state in _RETRYABLE:
        return Busy(_BUSY)
    if state in _BY_STATE:
        known = _BY_STATE[state]
        return type(known)(known.message)
    if state[:2] == _LIMIT_CLASS:
        return InvalidInput(_TOO_LONG)
    lost = isinstance(error, OperationalError) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    )
    if lost or isinstance(error, PoolTimeout) or state[:2] in _GONE_CLASSES:
        return Unavailable(_GONE)
    return error


def _sqlstate(error: Exception) -> str | None:
    original: Any = getattr(error, "orig", None)
    return getattr(original, "pgcode", None)


def _driver_url(url: str) -> str:
    for prefix in ("postgresql://", "postgres://"):
        if url.startswith(prefix):
            return "postgresql+psycopg2://" + url.removeprefix(prefix)
    return url
