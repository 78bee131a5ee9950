"""``gaelp database``: keep a copy of the database, and put it back."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from gaelp_ray.cli import database, homes
from gaelp_ray.cli.output import out
from gaelp_ray.cli.steps import Steps
from gaelp_ray.config import Settings
from gaelp_ray.domain.errors import SetupError

app = typer.Typer(help="Keep a copy of the database, and put it back.", no_args_is_help=True)

#: Takes away what a service keeps, and nothing that the server needs.
_EMPTY = """
DO $$ DECLARE found record; BEGIN
  FOR found IN SELECT oid::regclass AS name FROM pg_class
      WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition LOOP
    EXECUTE format('DROP TABLE IF EXISTS %s CASCADE', found.name);
  END LOOP;
  FOR found IN SELECT p.oid::regprocedure AS name FROM pg_proc p
      WHERE p.pronamespace = 'public'::regnamespace
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e') LOOP
    EXECUTE format('DROP ROUTINE IF EXISTS %s CASCADE', found.name);
  END LOOP;
END $$;
"""
#: Numbers of transactions are of the server that gave them. Where they are from another one, they would seem
#: to lie in the future, and who reads on from the newest would be told all of the past again.
_OLD = """
DO $$ DECLARE found record; BEGIN
  FOR found IN SELECT a.attrelid::regclass AS name, quote_ident(a.attname) AS part FROM pg_attribute a
      JOIN pg_class c ON c.oid = a.attrelid
      WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
      AND a.atttypid = 'xid8'::regtype AND NOT a.attisdropped LOOP
    EXECUTE format('ALTER TABLE %s DISABLE TRIGGER USER', found.name);
    EXECUTE format('UPDATE %s SET %s = ''3''', found.name, found.part);
    EXECUTE format('ALTER TABLE %s ENABLE TRIGGER USER', found.name);
  END LOOP;
END $$;
"""

File = Annotated[Path, typer.Argument(help="The file.")]


@app.command()
def dump(file: File) -> None:
    """Write the whole database to a file, while the service runs or not.

    Checkpoints, the signing secret and secrets of jobs are files of their own; copy them after this.
    """
    if file.exists():
        raise SetupError(f"{file} exists already; name another file.")
    steps, part = Steps(), file.with_name(f".{file.name}.part")
    with _running(Settings()) as settings:
        steps.say("Writing the database")
        try:
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            _run(settings, "pg_dump", *_PLAIN, "--format=custom", f"--file={part}")
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
    size = file.stat().st_size
    out.print(f"{file} holds the database, {size / 1024**2:.1f} MiB.")
    out.print("Now copy the checkpoints and the secrets, which it does not hold.")


@app.command()
def restore(
    file: File,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of the data that is there.")
    ] = False,
) -> None:
    """Put back what `gaelp database dump` wrote, as a whole or not at all. The service must be down."""
    from gaelp_ray.cli import machine  # noqa: PLC0415 - keeps `gaelp --help` quick

    steps, settings = Steps(), Settings()
    if machine.parts(settings):
        raise SetupError("The service is up; stop it with `gaelp down` and try again.")
    if not file.is_file():
        raise SetupError(f"{file} is no file.")
    with _running(settings) as settings:
        _check_revision(settings, file)
        if not replace and _revision_of(settings):
            raise SetupError("The database holds data already; with --replace the file takes its place.")
        steps.say("Reading the file into the database")
        script = _run(settings, "pg_restore", *_PLAIN, "--file=-", str(file), connected=False)
        told = ("--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1")
        _run(settings, "psql", *told, f"--command={_EMPTY}", "--file=-", f"--command={_OLD}", given=script)
        steps.say("Bringing it to the newest schema")
        revision = machine.migrate(settings)
    out.print(f"The database is back, at revision {revision}; start the service with `gaelp up`.")


_PLAIN = ("--no-owner", "--no-privileges")


@contextlib.contextmanager
def _running(settings: Settings) -> Iterator[Settings]:
    """The settings with a database that answers; the embedded one is left as it was found."""
    if settings.database_url is not None:
        yield settings
        return
    home = homes.prepare(settings.data_dir)
    with homes.held(home):
        was_up = database.postmaster(home) is not None
        try:
            yield settings.model_copy(update={"database_url": database.start(home)})
        finally:
            if not was_up:
                database.stop(home)


def _check_revision(settings: Settings, file: Path) -> None:
    """Raise ``SetupError`` for what is no dump of ours, or of a newer version, before anything is changed."""
    from alembic.util import CommandError  # noqa: PLC0415

    from gaelp_ray.store import migrate  # noqa: PLC0415

    table = ("--data-only", "--table=alembic_version", "--file=-", str(file))
    lines = _run(settings, "pg_restore", *table, connected=False).decode(errors="replace").splitlines()
    begins = next((at for at, line in enumerate(lines) if line.startswith("COPY ")), None)
    if begins is None:
        raise SetupError(f"{file} is no dump of a gaelp-ray database.")
    try:
        migrate.check_known(lines[begins + 1].strip())
    except CommandError:
        raise SetupError(f"{file} was written by a newer version of gaelp-ray; install that one.") from None


def _revision_of(settings: Settings) -> str:
    query = "SELECT to_regclass('public.alembic_version')"
    return _run(settings, "psql", "--no-psqlrc", "-At", f"--command={query}").decode().strip()


def _run(
    settings: Settings, program: str, *arguments: str, given: bytes | None = None, connected: bool = True
) -> bytes:
    """Run one of PostgreSQL's programs and return its output; raises ``SetupError`` with its words."""
    from sqlalchemy import make_url  # noqa: PLC0415

    url = make_url(settings.database_url or "").set(drivername="postgresql")
    # Not on the command line, which every user of the machine may read.
    password = {} if url.password is None else {"PGPASSWORD": str(url.password)}
    target = f"--dbname={url._replace(password=None).render_as_string()}"
    done = subprocess.run(
        [_program(program), *([target] if connected else []), *arguments],
        input=given,
        env=os.environ | password,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().splitlines() or ["it did not say why"]
        wrong = next((line for line in words if "error" in line.lower()), words[-1])
        raise SetupError(f"{program} failed: {wrong.partition('error: ')[2] or wrong}.".replace("..", "."))
    return done.stdout


def _program(name: str) -> str:
    with contextlib.suppress(SetupError):
        return str(database.programs_folder() / name)
    found = shutil.which(name)
    if found is None:
        raise SetupError(f"{name} is not installed; run `pip install 'gaelp-ray[local]'`, which brings it.")
    return found
