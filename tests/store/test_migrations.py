"""Migrations lead to the very schema that the queries are written for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text

from gaelp_ray.store import migrate
from gaelp_ray.store.engine import Store
from gaelp_ray.store.tables import metadata
from tests.builders import at_once

#: Everything PostgreSQL knows of a schema, in words of its own.
CATALOGUE = {
    "columns": """
        SELECT table_name, column_name, data_type, udt_name, is_nullable, column_default, is_identity,
               identity_generation
        FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, column_name""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2""",
    "indexes": "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexdef",
}


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[Engine]:
    store = Store(empty_database_url, pool_size=8)
    yield store.engine
    store.close()


def catalogue(engine: Engine, part: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(text(CATALOGUE[part]))]
    return [row for row in rows if "alembic_version" not in str(row)]


@pytest.mark.filterwarnings("ignore:Did not recognize type 'xid8'")
def test_alembic_finds_nothing_to_change(store: Store) -> None:
    options = {"compare_type": True, "compare_server_default": True}
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


@pytest.mark.parametrize("part", CATALOGUE)
def test_the_migrated_schema_is_the_one_of_the_tables(store: Store, empty: Engine, part: str) -> None:
    metadata.create_all(empty)
    made = catalogue(empty, part)
    assert made, "there is something to compare"
    assert catalogue(store.engine, part) == made


def test_an_upgrade_reaches_the_head_and_says_so(empty: Engine) -> None:
    assert migrate.upgrade(empty) == migrate.head()
    with empty.connect() as connection:
        assert migrate.current(connection) == migrate.head()


def test_an_upgrade_of_what_is_upgraded_changes_nothing(store: Store) -> None:
    before = {part: catalogue(store.engine, part) for part in CATALOGUE}
    assert migrate.upgrade(store.engine) == migrate.head()
    assert {part: catalogue(store.engine, part) for part in CATALOGUE} == before


def test_upgrades_at_the_same_moment_take_turns(empty: Engine) -> None:
    assert at_once(4, lambda _: migrate.upgrade(empty)) == [migrate.head()] * 4


def test_an_empty_database_has_no_revision(empty: Engine) -> None:
    with empty.connect() as connection:
        assert migrate.current(connection) is None
