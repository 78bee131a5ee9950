"""Migrations lead to the very schema that the queries are written for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text

from gaelp_ray.services import statements
from gaelp_ray.store import migrate
from gaelp_ray.store.engine import Store
from gaelp_ray.store.tables import metadata
from tests.builders import T0, at_once

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


def test_what_was_spent_before_the_ledger_is_carried_over(empty: Engine) -> None:
    migrate.upgrade(empty, "0004")
    with empty.begin() as tx:
        for statement in BEFORE_THE_LEDGER:
            tx.execute(text(statement))
    migrate.upgrade(empty)
    with empty.connect() as connection:
        rows = connection.execute(text(CARRIED_OVER)).all()
        assert statements.reconcile(connection, now=T0) == []
    assert [tuple(row) for row in rows] == [
        ("optimizer", "real", 5_000_000, 30),
        ("player", "simulated", None, 7),
        ("unused", "simulated", 9, None),
    ]


BEFORE_THE_LEDGER = (
    """
    INSERT INTO agents (name, type, status, owner, budget_limit_micros, created_at, updated_at)
    VALUES ('optimizer', 'real_deployment', 'active', 'ann', 5000000, now(), now()),
           ('player', 'simulation', 'active', 'ann', NULL, now(), now()),
           ('unused', 'research', 'active', 'bob', 9, now(), now())
    """,
    """
    INSERT INTO spends (agent_id, key, amount_micros, balance_micros, at)
    VALUES (1, 'a', 10, 10, now()), (1, 'b', 20, 30, now()), (2, 'a', 7, 7, now())
    """,
)
CARRIED_OVER = """
    SELECT agents.name, accounts.money, account_limits.limit_micros, account_windows.posted_micros
    FROM agents
    JOIN accounts ON accounts.id = agents.account_id
    JOIN account_limits ON account_limits.account_id = accounts.id
    LEFT JOIN account_windows ON account_windows.account_id = accounts.id
    ORDER BY agents.id
"""
