"""Where a service lives: any folder of one's own will do, and what will not is told in one sentence."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gaelp_ray.cli import database, homes
from gaelp_ray.domain.errors import SetupError


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that the user whom PostgreSQL runs as can reach, also while another test session begins:
    pytest then closes the folder of all its sessions to others.
    """
    with tempfile.TemporaryDirectory(prefix="gaelp-test-home-") as folder:
        yield Path(folder)


NAMES = [
    "with space",
    'a "quoted" one',
    "it's",
    "100%",
    "per%20cent",
    "$HOME`id`",
    "ünï☃",
    "-dash",
    "x" * 200,
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:20])
def test_a_folder_of_any_name_has_a_database_and_short_sockets(place: Path, name: str) -> None:
    import psycopg2  # noqa: PLC0415

    home = homes.prepare(place / name)
    try:
        connection = psycopg2.connect(database.start(home))
        with connection.cursor() as cursor:
            cursor.execute("SHOW data_directory")
            (where,) = cursor.fetchone() or ("",)
        connection.close()
        assert where == str(home / "postgres")
        run = homes.run_folder(home)
        assert len(str(run / "haproxy" / ("f" * 56) / "admin.sock")) <= 97, "HAProxy takes no longer one"
    finally:
        database.stop(home)
    assert database.postmaster(home) is None


def test_what_cannot_be_a_home_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for bad in (file, file / "x", Path("/proc/x"), tmp_path / ("x" * 300), tmp_path / "new\nline"):
        with pytest.raises(SetupError, match=r"set GAELP_HOME|name a folder"):
            homes.prepare(bad)


def test_a_half_made_database_is_made_anew(place: Path) -> None:
    """As after a power cut in the middle of it: PostgreSQL itself would take the folder for whole."""
    (place / "postgres").mkdir()
    (place / "postgres" / "PG_VERSION").write_text("18\n")
    (place / "postgres-unfinished").touch()
    try:
        assert database.start(place).startswith("postgresql://")
    finally:
        database.stop(place)
    assert not (place / "postgres-unfinished").exists()


def test_the_number_of_a_killed_server_may_be_anybodys(place: Path) -> None:
    try:
        database.start(place)
        lines = (place / "postgres" / "postmaster.pid").read_text().splitlines()
        database.stop(place)
        lines[0] = str(os.getpid())
        (place / "postgres" / "postmaster.pid").write_text("\n".join(lines) + "\n")
        assert database.postmaster(place) is None
        database.start(place)
        assert database.postmaster(place) is not None
    finally:
        database.stop(place)


def test_data_of_another_version_is_left_alone(place: Path) -> None:
    (place / "postgres").mkdir()
    (place / "postgres" / "PG_VERSION").write_text("16\n")
    with pytest.raises(SetupError, match="was made by PostgreSQL 16"):
        database.start(place)
    assert (place / "postgres" / "PG_VERSION").read_text() == "16\n"


def test_the_run_folder_is_private_and_stays_the_same(tmp_path: Path) -> None:
    run = homes.run_folder(tmp_path)
    assert stat.S_IMODE(run.stat().st_mode) == 0o700
    assert homes.run_folder(tmp_path) == run
    assert (tmp_path / "run").readlink() == run


def test_a_copied_or_moved_home_has_a_run_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    run = homes.run_folder(tmp_path / "one")
    (tmp_path / "two" / "run").symlink_to(run)
    assert homes.run_folder(tmp_path / "two") != run
    assert homes.run_folder(tmp_path / "one") == run


@pytest.mark.parametrize("harm", ["gone", "open", "link"])
def test_a_run_folder_that_is_not_as_it_was_made_is_not_trusted(tmp_path: Path, harm: str) -> None:
    run = homes.run_folder(tmp_path)
    if harm == "open":
        run.chmod(0o777)
    else:
        (run / "data-folder").unlink()
        run.rmdir()
    if harm == "link":
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(0o700)
        (elsewhere / "data-folder").write_text(str(tmp_path))
        run.symlink_to(elsewhere)
    assert homes.run_folder(tmp_path) != run


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")
def test_what_belongs_to_another_user_is_not_used(tmp_path: Path) -> None:
    run = homes.run_folder(tmp_path)
    os.chown(run, 12345, 12345)
    assert homes.run_folder(tmp_path) != run

    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(SetupError, match="belongs to user id 12345 and you are root"):
        homes.prepare(tmp_path)


def test_one_command_at_a_time_starts_and_stops(tmp_path: Path) -> None:
    said: list[str] = []
    held = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert held.stdin is not None
    assert held.stdout is not None
    held.stdout.readline()

    def say(sentence: str) -> None:
        said.append(sentence)
        held.kill()

    with homes.held(tmp_path, say):
        assert len(said) == 1
        assert "Waiting for another" in said[0]
    held.wait()


_HOLD = """
import sys; from pathlib import Path; from gaelp_ray.cli import homes
with homes.held(Path(sys.argv[1])):
    print("held", flush=True); sys.stdin.read()
"""
