"""What `gaelp database dump` wrote, `restore` puts back as a whole or not at all."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from gaelp_ray.cli.main import main
from gaelp_ray.store import events as event_store
from gaelp_ray.store.engine import Store
from gaelp_ray.store.events import Cursor
from tests.builders import World
from tests.conftest import Postgres

Gaelp = Callable[..., int]


@pytest.fixture
def other(postgres: Postgres) -> Iterator[str]:
    """A database without a schema, as on a new machine."""
    with postgres.database(migrated=False) as url:
        yield url


@pytest.fixture
def gaelp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Gaelp:
    """Runs a command of `gaelp database` on a database, and returns its exit code."""

    def run(url: str, *words: str) -> int:
        monkeypatch.setenv("GAELP_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("GAELP_DATABASE_URL", url)
        with pytest.raises(SystemExit) as left:
            main(("database", *words))
        return int(left.value.code or 0)

    return run


def content(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, but for the numbers of transactions, which are the server's own."""
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg2"))
    with engine.connect() as connection:
        tables = connection.execute(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        ).scalars()
        found = {}
        for table in list(tables):
            columns = connection.execute(
                text(
                    "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' "
                    "AND table_name = :table AND udt_name <> 'xid8' ORDER BY ordinal_position"
                ),
                {"table": table},
            ).scalars()
            listed = ", ".join(f'"{column}"::text' for column in columns)
            found[table] = sorted(
                (tuple(row) for row in connection.execute(text(f'SELECT {listed} FROM "{table}"'))), key=str
            )
    engine.dispose()
    return found


def test_what_was_dumped_comes_back_and_goes_on(
    world: World, database_url: str, other: str, gaelp: Gaelp, tmp_path: Path
) -> None:
    for _ in range(3):
        world.cancel(world.submit())
    file = tmp_path / "of the day.dump"

    assert gaelp(database_url, "dump", str(file)) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert gaelp(other, "restore", str(file)) == 0
    assert content(other) == content(database_url)

    restored = Store(other, pool_size=2)
    try:
        end = restored.read(event_store.feed_end)
        told, _ = restored.read(event_store.feed, Cursor(0, 0), limit=100)
        assert len(told) == 6, "the past can be read"
        again, _ = restored.read(event_store.feed, end, limit=100)
        assert again == [], "and is not told again as news"
        with restored.engine.connect() as connection, pytest.raises(DBAPIError, match="never changed"):
            connection.execute(text("UPDATE audit_records SET actor = 'nobody'"))
    finally:
        restored.close()


def test_data_is_replaced_only_when_asked_for(
    world: World, database_url: str, postgres: Postgres, gaelp: Gaelp, tmp_path: Path
) -> None:
    world.submit()
    file = tmp_path / "a.dump"
    assert gaelp(database_url, "dump", str(file)) == 0
    with postgres.database() as filled:
        before = content(filled)
        assert gaelp(filled, "restore", str(file)) == 1
        assert content(filled) == before
        assert gaelp(filled, "restore", str(file), "--replace") == 0
        assert content(filled) == content(database_url)


def test_a_file_that_is_no_dump_changes_nothing(
    database_url: str, gaelp: Gaelp, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(database_url)
    junk = tmp_path / "junk.dump"
    junk.write_bytes(b"no dump")
    assert gaelp(database_url, "restore", str(junk), "--replace") == 1
    assert gaelp(database_url, "restore", str(tmp_path / "nothing"), "--replace") == 1
    assert content(database_url) == before
    assert "Traceback" not in capsys.readouterr().err


def test_a_dump_of_a_newer_version_is_refused_before_anything_is_changed(
    database_url: str, other: str, gaelp: Gaelp, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = create_engine(make_url(database_url).set(drivername="postgresql+psycopg2"))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    file = tmp_path / "a.dump"
    assert gaelp(database_url, "dump", str(file)) == 0
    assert gaelp(other, "restore", str(file)) == 1
    assert "newer version" in capsys.readouterr().err
    assert content(other) == {}


def test_a_dump_never_overwrites_a_file(database_url: str, gaelp: Gaelp, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("kept")
    assert gaelp(database_url, "dump", str(kept)) == 1
    assert kept.read_text() == "kept"
    assert [file.name for file in tmp_path.iterdir()] == ["kept"]
