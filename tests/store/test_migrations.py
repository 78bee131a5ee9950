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


NAMED_BEFORE = [
    """INSERT INTO accounts (scope, subject, currency, money, timezone, created_at) VALUES
       ('campaign', ' Spring', 'EUR', 'real', 'UTC', now()),
       ('campaign', 'Autumn', 'EUR', 'real', 'UTC', now()),
       ('campaign', 'autumn', 'EUR', 'real', 'UTC', now()),
       ('agent', '050', 'EUR', 'real', 'UTC', now())""",
    """INSERT INTO quotas (kind, name, team, limits, weight, updated_at, updated_by) VALUES
       ('user', 'Ann', 'ADS', '{}', 1, now(), 'root'), ('team', 'ADS', NULL, '{}', 1, now(), 'root'),
       ('user', '*', NULL, '{}', 1, now(), 'root')""",
    """INSERT INTO kill_switches (scope, subject, engaged, reason, changed_by, changed_at) VALUES
       ('agent', '050', true, 'r', 'root', now()), ('user', 'ANN', true, 'r', 'root', now())""",
    """INSERT INTO role_grants (user_name, role, granted_by, granted_at)
       VALUES ('Ann', 'auditor', 'root', now())""",
    """INSERT INTO agents (name, type, status, owner, created_at, updated_at)
       VALUES ('Bot', 'simulation', 'active', 'Ann', now(), now())""",
    """INSERT INTO holds (scope, name, mode, reason, "by", at)
       VALUES ('team', 'Ads', 'hold', '', 'Root', now())""",
    """INSERT INTO metric_points (agent_id, at, values, source)
       VALUES (1, '10000-01-01T11:59:59Z', '{"ctr": 1}', 'external')""",
]
NAMED_AFTER = {
    "SELECT subject FROM accounts ORDER BY id": ["spring", "Autumn", "autumn", "50"],
    "SELECT name FROM quotas ORDER BY kind, name": ["ads", "*", "ann"],
    "SELECT team FROM quotas WHERE name = 'ann'": ["ads"],
    "SELECT subject FROM kill_switches ORDER BY scope": ["50", "ann"],
    "SELECT user_name FROM role_grants": ["ann"],
    "SELECT owner FROM agents": ["ann"],
    "SELECT name FROM holds": ["ads"],
    "SELECT at < '9000-01-01Z' FROM metric_points": [True],
}


def test_names_of_before_are_kept_in_one_form_and_those_that_would_become_one_stay(empty: Engine) -> None:
    migrate.upgrade(empty, "0006")
    with empty.begin() as tx:
        for statement in NAMED_BEFORE:
            tx.execute(text(statement))
    migrate.upgrade(empty)
    with empty.connect() as connection:
        for query, names in NAMED_AFTER.items():
            assert list(connection.execute(text(query)).scalars()) == names, query
