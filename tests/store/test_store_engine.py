"""The door to PostgreSQL: what is a transaction, and what errors are called."""

from __future__ import annotations

import socket
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from gaelp_ray.domain.errors import Busy, Conflict, GaelpError, InvalidInput, NotFound, Unavailable
from gaelp_ray.store.engine import Store, translate
from tests.builders import World, at_once
from tests.conftest import Sql


def ask(connection: Connection, statement: str, **parameters: Any) -> Any:
    return connection.execute(text(statement), parameters).scalar()


class DriverError(Exception):
    def __init__(self, pgcode: str | None) -> None:
        super().__init__(f"state {pgcode}")
        self.pgcode = pgcode


#: id: (SQLSTATE, connection lost, error)
STATES: dict[str, tuple[str | None, bool, type[GaelpError] | None]] = {
    "unique violation": ("23505", False, Conflict),
    "number out of range": ("22003", False, InvalidInput),
    "text that cannot be stored": ("22P05", False, InvalidInput),
    "serialization failure": ("40001", False, Busy),
    "deadlock": ("40P01", False, Busy),
    "connection failure": ("08006", False, Unavailable),
    "too many connections": ("53300", False, Unavailable),
    "disk full": ("53100", False, Unavailable),
    "shutting down": ("57P01", False, Unavailable),
    "lost without a word": (None, True, Unavailable),
    "a mistake in our own SQL": ("42601", False, None),
    "a broken foreign key": ("23503", False, None),
}


@pytest.mark.parametrize("case", STATES)
def test_a_database_error_is_called_what_it_means(case: str) -> None:
    state, lost, kind = STATES[case]
    error = DBAPIError("SELECT", {}, DriverError(state), connection_invalidated=lost)
    assert type(translate(error)) is (kind or DBAPIError)


def test_a_full_pool_means_try_again() -> None:
    assert isinstance(translate(PoolTimeout()), Unavailable)


def test_a_name_that_is_taken_is_a_conflict(world: World, sql: Sql) -> None:
    agent = world.agent(name="bidder")
    duplicate = "INSERT INTO agents SELECT (a).* FROM (SELECT a FROM agents a WHERE id = :id) AS copied"
    with pytest.raises(Conflict, match="exists already"):
        world.store.transact(
            ask, duplicate.replace("INTO agents", "INTO agents OVERRIDING SYSTEM VALUE"), id=agent.id
        )
    assert sql("SELECT count(*) FROM agents") == [(1,)]


@pytest.mark.parametrize("value", ["a\x00b", "a\ud800b"], ids=["NUL", "half of a pair"])
def test_text_that_cannot_be_stored_is_bad_input(store: Store, value: str) -> None:
    for run in (store.transact, store.read):
        with pytest.raises(
            InvalidInput, match="Text may not hold NUL characters or half of a surrogate pair"
        ):
            run(ask, "SELECT cast(:value AS text)", value=value)


def test_other_mistakes_in_values_stay_what_they_are(store: Store) -> None:
    def mistaken(_connection: Connection) -> None:
        int("seven")

    with pytest.raises(ValueError, match="invalid literal"):
        store.transact(mistaken)


def test_our_own_mistakes_stay_what_they_are(store: Store) -> None:
    with pytest.raises(ProgrammingError, match="no_such_table"):
        store.transact(ask, "SELECT * FROM no_such_table")


def test_a_server_that_does_not_answer_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    store = Store(f"postgresql://nobody@127.0.0.1:{port}/nothing", pool_size=1)
    for run in (store.transact, store.read):
        with pytest.raises(Unavailable, match="The database does not answer; nothing was changed"):
            run(ask, "SELECT 1")
    with pytest.raises(Unavailable), store.connection():
        pytest.fail("there is no connection")


def cut_connections(sql: Sql) -> None:
    """The server closes every connection but the one that asks."""
    sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


def test_a_read_does_not_notice_that_the_server_was_restarted(database_url: str, sql: Sql) -> None:
    store = Store(database_url, pool_size=2)
    assert store.read(ask, "SELECT 1") == 1
    cut_connections(sql)
    assert store.read(ask, "SELECT 2") == 2
    store.close()


def test_nor_does_a_transaction(database_url: str, sql: Sql) -> None:
    store = Store(database_url, pool_size=2)
    assert store.transact(ask, "SELECT 1") == 1
    cut_connections(sql)
    assert store.transact(ask, "SELECT 2") == 2
    store.close()


def test_what_was_cut_off_at_its_commit_is_not_run_again(database_url: str, sql: Sql) -> None:
    store, runs = Store(database_url, pool_size=2), []

    def change(tx: Connection) -> None:
        runs.append(ask(tx, "SELECT 1"))
        cut_connections(sql)

    with pytest.raises(Unavailable):
        store.transact(change)
    assert runs == [1], "nobody knows whether it was committed"
    store.close()


def test_a_transaction_that_was_cut_off_changed_nothing(database_url: str, world: World, sql: Sql) -> None:
    agent = world.agent(name="before")
    store = Store(database_url, pool_size=1)

    def change(tx: Connection) -> None:
        ask(tx, "UPDATE agents SET name = 'after' WHERE id = :id RETURNING 1", id=agent.id)
        cut_connections(sql)
        ask(tx, "SELECT 1")

    with pytest.raises(Unavailable):
        store.transact(change)
    assert sql("SELECT name FROM agents") == [("before",)]
    assert store.transact(ask, "SELECT 1") == 1, "the next transaction has a fresh connection"
    store.close()


def test_an_error_takes_back_everything(world: World, sql: Sql) -> None:
    agent = world.agent(name="before")

    def change(tx: Connection) -> None:
        ask(tx, "UPDATE agents SET name = 'after' WHERE id = :id RETURNING 1", id=agent.id)
        raise NotFound("halfway")

    with pytest.raises(NotFound, match="halfway"):
        world.store.transact(change)
    assert sql("SELECT name FROM agents") == [("before",)]


def test_a_deadlock_is_run_again_and_both_succeed(world: World) -> None:
    ids = [world.agent().id, world.agent().id]
    each_holds_one = Barrier(2)
    tries = [0, 0]

    def lock_both(tx: Connection, number: int) -> str:
        tries[number] += 1
        first, second = ids if number == 0 else reversed(ids)
        ask(tx, "SELECT id FROM agents WHERE id = :id FOR UPDATE", id=first)
        if tries[number] == 1:
            each_holds_one.wait(timeout=60)
        ask(tx, "SELECT id FROM agents WHERE id = :id FOR UPDATE", id=second)
        return "done"

    assert at_once(2, lambda number: world.store.transact(lock_both, number)) == ["done", "done"]
    assert sum(tries) > 2, "one of them was the victim, at least once"


def test_what_always_fails_is_given_up_after_three_tries(store: Store) -> None:
    tries = []

    def unlucky(_tx: Connection) -> None:
        tries.append(1)
        raise DBAPIError("UPDATE", {}, DriverError("40001"))

    with pytest.raises(Unavailable, match="three times; nothing was changed"):
        store.transact(unlucky)
    assert len(tries) == 3
