"""Starts and stops the parts of the service on one machine."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import select
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
from pydantic import SecretStr

from gaelp_ray.bootstrap import Runtime, replace_private, signing_secret
from gaelp_ray.cli import database, head, homes, local, ports, processes, tokens, unfinished
from gaelp_ray.cli.unfinished import Part, Start
from gaelp_ray.config import Settings
from gaelp_ray.domain.errors import SetupError
from gaelp_ray.observability.logs import without_secrets
from gaelp_ray.services import launching
from gaelp_ray.store import migrate as migrations

#: File with the address of a cluster that `gaelp up --address` joined and did not start.
_JOINED = "joined-ray-address"
APPLICATION = "gaelp"
#: What the driver says when it is done.
DEPLOYED = "deployed"
READY_S = 120.0
#: What Ray may take to place the actors and to start the replicas, on a machine with much else to do.
_DEPLOY_S = 300.0
#: How long an API that was already there may take to answer again.
_AGAIN_S = 30.0

Say = Callable[[str], None]


class Task(NamedTuple):
    """What the driver is started for."""

    settings: Settings
    #: Whether the database is the embedded one, which serves this machine only.
    embedded: bool
    #: Whether the API runs as it should and only its driver is gone.
    attach: bool


def start(settings: Settings, *, address: str | None, say: Say) -> None:
    """Database, schema, Ray, actors, API, in this order; each step is safe to repeat.

    What runs already stays; what is broken is started anew. A start that fails, is interrupted or is killed
    leaves nothing of what it started. Raises ``SetupError`` when it cannot be done.
    """
    home = homes.prepare(settings.data_dir)
    with homes.held(home, say) as lock:
        if is_whole(settings):
            return _keep_token(settings)
        say("Checking ports")
        if address is not None:
            check_cluster(address)
        else:
            _clear_broken(settings, say)
        check_ports(settings, joining=address is not None)
        with unfinished.start(settings, lock) as begun:
            _bring_up(settings, address, say, begun)
    return None


def _bring_up(settings: Settings, address: str | None, say: Say, begun: Start) -> None:
    embedded = settings.database_url is None
    say("Starting PostgreSQL" if embedded else "Connecting to PostgreSQL")
    if embedded:
        if database.postmaster(settings.data_dir) is None:
            begun.begin(Part.DATABASE)
        settings = _with_embedded(settings)
    migrate(settings)
    keep_currency(settings)
    secret = SecretStr(signing_secret(settings))
    _write_token(settings)
    settings = settings.model_copy(update={"jwt_secret": secret})
    if address is not None:
        if not (settings.data_dir / _JOINED).exists():
            begun.begin(Part.JOINED)
        (settings.data_dir / _JOINED).write_text(address)
    elif head.missing(settings) is not None:
        if _serve_again(settings, embedded, say, begun):
            return
        say("Stopping Ray, which no longer serves the API")
        stop_ray(settings.data_dir)
    if address is None:
        say("Starting Ray")
        begun.begin(Part.HEAD)
        address = head.start(settings)
    begun.begin(Part.DRIVER)
    _serve(Task(settings, embedded, attach=answers_as_ours(settings)), address, say, within_s=READY_S)


def _serve(task: Task, address: str, say: Say, *, within_s: float) -> None:
    say("Deploying the API" if not task.attach else "Starting the driver")
    deploy(task, address)
    say("Waiting for the service to be ready")
    wait_ready(task.settings, within_s=within_s)


def _serve_again(settings: Settings, embedded: bool, say: Say, begun: Start) -> bool:
    """Bring the API back on a head that lives; false when that does not work."""
    begun.begin(Part.DRIVER)
    try:
        task = Task(settings, embedded, attach=answers_as_ours(settings))
        _serve(task, head.address(settings), say, within_s=_AGAIN_S)
    except SetupError:
        return False
    return True


def stop(settings: Settings, say: Say = lambda _: None) -> None:
    """Stop the driver, the local Ray head and the embedded database, in this order, by pid."""
    if not settings.data_dir.is_dir():
        return
    with homes.held(settings.data_dir, say):
        leave_cluster(settings)
        stop_ray(settings.data_dir)
        database.stop(settings.data_dir)


def stop_ray(home: Path) -> None:
    """Stop the driver and the local Ray head."""
    processes.end(lambda: processes.of_driver(home))
    head.stop(home)


def _clear_broken(settings: Settings, say: Say) -> None:
    """A head without a part that it cannot be without is stopped: its ports and its actors are of no use."""
    if head.missing(settings):
        say("Stopping what is left of an earlier start")
        stop_ray(settings.data_dir)


def parts(settings: Settings) -> dict[str, bool]:
    """Each part of the service and whether it lives, as far as this machine can tell; empty if none does."""
    home = settings.data_dir
    joined = (home / _JOINED).exists()
    living = processes.of_head(home)
    driver = bool(processes.of_driver(home))
    postgres = database.postmaster(home) is not None if settings.database_url is None else None
    if not (joined or living or driver):
        return {}
    found = {} if postgres is None else {"PostgreSQL": postgres}
    if not joined:
        found |= {
            "Ray's GCS": processes.named(living, "gcs_server"),
            "Ray's raylet": processes.named(living, "raylet"),
            "HAProxy": processes.named(living, "haproxy"),
        }
        if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY", "1") != "1":
            del found["HAProxy"]
    return found | {"driver": driver, "API": answers_as_ours(settings)}


def is_whole(settings: Settings) -> bool:
    """Whether every part lives, and the API is ready and is this data folder's own."""
    found = parts(settings)
    return bool(found) and all(found.values()) and local.is_ready(settings)


def answers_as_ours(settings: Settings) -> bool:
    """Whether what listens on the port takes a token signed with this data folder's secret."""
    with contextlib.suppress(httpx.HTTPError, SetupError):
        return local.ask(settings, "/api/v1/status", token=passing_token(settings)).is_success
    return False


def with_database(settings: Settings) -> Settings:
    """The settings with a database that answers; the embedded one is left running."""
    if settings.database_url is None:
        homes.prepare(settings.data_dir)
        with homes.held(settings.data_dir):
            return _with_embedded(settings)
    return settings


def _with_embedded(settings: Settings) -> Settings:
    return settings.model_copy(update={"database_url": database.start(settings.data_dir)})


def migrate(settings: Settings) -> str:
    """Apply missing migrations; raises ``SetupError`` when the database does not answer or is too new."""
    from alembic.util import CommandError  # noqa: PLC0415
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    store = Runtime(settings).store
    try:
        return migrations.upgrade(store.engine)
    except CommandError as error:
        raise SetupError(
            f"The database was made by a newer version of gaelp-ray ({_short(error)}); install that one."
        ) from error
    except SQLAlchemyError as error:
        why = _short(getattr(error, "orig", None) or error)
        raise SetupError(f"The database does not answer ({why}); check GAELP_DATABASE_URL.") from error
    finally:
        store.close()


def keep_currency(settings: Settings) -> None:
    """Raise ``SetupError`` where GAELP_CURRENCY was changed under limits of compute that are in force."""
    runtime = Runtime(settings)
    try:
        runtime.keep_currency()
    finally:
        runtime.store.close()


def check_ports(settings: Settings, *, joining: bool) -> None:
    """Raise ``SetupError`` for the first port that somebody else has."""
    mine = {process.pid for process in processes.of_head(settings.data_dir)}
    if not (joining and _serve_answers(settings)) and not ports.is_listened_by(settings.port, mine):
        ports.check([ports.of_api(settings)])
    if not joining and not mine:
        ports.check(ports.of_ray(settings))


def _serve_answers(settings: Settings) -> bool:
    """Whether the port is held by the ingress of a Ray Serve that runs already."""
    with contextlib.suppress(httpx.HTTPError):
        return local.ask(settings, "/-/healthz").text == "success"
    return False


def check_cluster(address: str) -> None:
    """Raise ``SetupError`` unless something listens there: Ray itself would keep trying for minutes."""
    import socket  # noqa: PLC0415

    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError, OverflowError):
        raise SetupError(f"There is no Ray cluster at {address}; check --address.") from None


def deploy(task: Task, address: str) -> None:
    """Start the driver and return when it has created the actors and deployed the API."""
    home = task.settings.data_dir
    processes.end(lambda: processes.of_driver(home))
    log = home / "driver.log"
    environment = head.outside() | head.serve_environment(task.settings) | head.authentication(task.settings)
    with log.open("wb") as errors:
        driver = subprocess.Popen(
            [sys.executable, "-m", "gaelp_ray.cli.driver", address],
            env=environment | {processes.DRIVER: str(home)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    assert driver.stdin is not None
    assert driver.stdout is not None
    with contextlib.suppress(BrokenPipeError), driver.stdin:
        pickle.dump(tuple(task), driver.stdin)
    with driver.stdout:
        ready, _, _ = select.select([driver.stdout], [], [], _DEPLOY_S)
        said = driver.stdout.readline().decode().strip() if ready else ""
    if said != DEPLOYED:
        processes.end(lambda: processes.of_driver(home))
        raise SetupError(f"The API was not deployed; the reason is in {log}.")


def retire_others(task: Task, cluster: str) -> None:
    """On a machine of its own, a new head is proof that the launchers of every earlier one are dead."""
    runtime = Runtime(task.settings)
    if task.embedded:
        runtime.store.transact(
            launching.retire_silent,
            cluster=cluster,
            silence=timedelta(0),
            policy=runtime.retry_policy,
            now=datetime.now(UTC),
        )
    runtime.store.close()


def wait_ready(settings: Settings, *, within_s: float = READY_S) -> None:
    """Wait until the API says that it is ready."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if local.is_ready(settings):
            return
        time.sleep(0.1)
    raise SetupError(f"The API was not ready after {within_s:.0f} s; see {settings.data_dir / 'ray.log'}.")


def leave_cluster(settings: Settings) -> None:
    """Take the API and the actors off a cluster that was joined; the cluster itself goes on."""
    joined = settings.data_dir / _JOINED
    if not joined.exists():
        return
    processes.end(lambda: processes.of_driver(settings.data_dir))
    import ray  # noqa: PLC0415 - slow to import
    from ray import serve  # noqa: PLC0415

    from gaelp_ray.actors import handles  # noqa: PLC0415

    with contextlib.suppress(SetupError):
        check_cluster(joined.read_text())
        connect(joined.read_text())
        try:
            serve.delete(APPLICATION)
            for name in handles.names(settings):
                with contextlib.suppress(ValueError):
                    ray.kill(ray.get_actor(name, namespace=handles.NAMESPACE))
        finally:
            ray.shutdown()
    joined.unlink()


def connect(address: str) -> None:
    """Connect this process to a Ray cluster."""
    import ray  # noqa: PLC0415

    from gaelp_ray.actors import handles  # noqa: PLC0415

    ray.init(address=address, namespace=handles.NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)


def head_processes(settings: Settings) -> list[psutil.Process]:
    """Every live process of this data folder's head and its driver."""
    return [*processes.of_head(settings.data_dir), *processes.of_driver(settings.data_dir)]


def _keep_token(settings: Settings) -> None:
    """Write a new admin's token if the one in the data folder is gone or no longer valid."""
    with contextlib.suppress(OSError, httpx.HTTPError):
        token = (settings.data_dir / "token").read_text().strip()
        if token and local.ask(settings, "/api/v1/status", token=token).is_success:
            return
    _write_token(settings)


def _write_token(settings: Settings) -> None:
    replace_private(settings.data_dir / "token", tokens.make(settings, "admin", admin=True))


def passing_token(settings: Settings) -> str:
    """A token of a minute for a question of this command's own."""
    brief = settings.model_copy(update={"token_ttl": timedelta(minutes=1)})
    return tokens.make(brief, "gaelp", admin=True)


def _short(error: object) -> str:
    return without_secrets(" ".join(str(error).split()).rstrip("."))[:300]
