"""Starts and stops the parts of the service on one machine."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil

from gaelp_ray.bootstrap import Runtime, signing_secret, write_private
from gaelp_ray.cli import database, local, tokens
from gaelp_ray.config import Settings
from gaelp_ray.domain.errors import SetupError
from gaelp_ray.services import launching
from gaelp_ray.store import migrate as migrations

#: Environment variable that marks the processes of the head that belongs to a data folder.
_MARK = "GAELP_HEAD_OF"
#: The same for the driver that deployed the service.
_DRIVER_MARK = "GAELP_DRIVER_OF"
#: File with the address of a cluster that `gaelp up --address` joined and did not start.
_JOINED = "joined-ray-address"
APPLICATION = "gaelp"
#: What the driver says when it is done.
DEPLOYED = "deployed"
READY_S = 120.0
#: Below those that systems give to clients, so that nobody is given one between its choice and its use.
_SPARE_PORTS = range(10_000, 20_000)

Say = Callable[[str], None]


def start(settings: Settings, *, address: str | None, say: Say) -> None:
    """Database, schema, Ray, actors, API, in this order; each step is safe to repeat."""
    if local.is_up(settings):
        return
    say("Checking ports")
    if address is not None:
        check_cluster(address)
    check_ports(settings, joining=address is not None)
    say("Starting PostgreSQL" if settings.database_url is None else "Connecting to PostgreSQL")
    settings = with_database(settings)
    migrate(settings)
    keep_currency(settings)
    secret = signing_secret(settings)
    (settings.data_dir / "token").unlink(missing_ok=True)
    write_private(settings.data_dir / "token", tokens.make(settings, "admin", admin=True))
    settings = settings.model_copy(update={"jwt_secret": secret_of(secret)})
    if address is None:
        say("Starting Ray")
        address = start_ray(settings)
    else:
        (settings.data_dir / _JOINED).write_text(address)
    say("Deploying the API")
    deploy(settings, address)
    say("Waiting for the service to be ready")
    wait_ready(settings)


def stop(settings: Settings) -> None:
    """Stop the driver, the local Ray head and the embedded database, in this order, by pid."""
    leave_cluster(settings)
    stop_processes(settings, _DRIVER_MARK)
    stop_processes(settings, _MARK)
    if settings.database_url is None:
        database.stop(settings.data_dir)


def with_database(settings: Settings) -> Settings:
    """The settings with a database that answers."""
    if settings.database_url is None:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        settings = settings.model_copy(update={"database_url": database.start(settings.data_dir)})
    return settings


def migrate(settings: Settings) -> str:
    """Apply missing migrations; raises ``SetupError`` when the database does not answer."""
    store = Runtime(settings).store
    try:
        return migrations.upgrade(store.engine)
    except Exception as error:
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

        from gaelp_ray.store.engine import translate  # noqa: PLC0415

        if isinstance(error, SQLAlchemyError):
            raise SetupError(
                f"The database does not answer ({_short(translate(error))}); check GAELP_DATABASE_URL."
            ) from error
        raise
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
    wanted = {} if joining and _serve_answers(settings) else {"GAELP_PORT": settings.port}
    if not joining and not ray_is_running(settings):
        wanted |= {
            "GAELP_RAY_PORT": settings.ray_port,
            "GAELP_DASHBOARD_PORT": settings.dashboard_port,
            "GAELP_METRICS_PORT": settings.metrics_port,
        }
    for name, port in wanted.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, port))
            except OSError:
                raise SetupError(f"Port {port} is in use; stop what uses it or set {name}.") from None


def _serve_answers(settings: Settings) -> bool:
    """Whether the port is held by the ingress of a Ray Serve that runs already."""
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{local.base_url(settings)}/-/healthz", timeout=2).text == "success"
    return False


def check_cluster(address: str) -> None:
    """Raise ``SetupError`` unless something listens there: Ray itself would keep trying for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError):
        raise SetupError(f"There is no Ray cluster at {address}; check --address.") from None


def start_ray(settings: Settings) -> str:
    """Start a Ray head in the background, unless it runs already; returns its address."""
    address = f"127.0.0.1:{settings.ray_port}"
    if ray_is_running(settings):
        return address
    command = [
        str(Path(sys.executable).with_name("ray")),
        "start",
        "--head",
        "--node-ip-address=127.0.0.1",
        f"--port={settings.ray_port}",
        f"--dashboard-port={settings.dashboard_port}",
        f"--metrics-export-port={settings.metrics_port}",
        f"--ray-client-server-port={settings.ray_client_port}",
        f"--dashboard-agent-listen-port={free_port(52365, settings)}",
        # Any free ports, so that two services on one machine never claim the same.
        "--min-worker-port=0",
        "--max-worker-port=0",
        "--disable-usage-stats",
    ]
    if settings.num_cpus is not None:
        command.append(f"--num-cpus={settings.num_cpus:g}")
    if settings.num_gpus is not None:
        command.append(f"--num-gpus={settings.num_gpus:g}")
    log = settings.data_dir / "ray.log"
    with log.open("wb") as output:
        started = subprocess.run(
            command, env=ray_environment(settings), stdout=output, stderr=output, check=False
        )
    if started.returncode != 0:
        raise SetupError(f"Ray did not start; its words are in {log}.")
    return address


def free_port(preferred: int, settings: Settings) -> int:
    """``preferred`` for the service on the usual port, for others one that is theirs; another if it is taken.

    Always the same for a service while it is free: processes that need to agree ask each for itself.
    """
    usual = settings.port == Settings.model_fields["port"].default
    # Chance spreads services over the machine; it keeps no secret.
    chance = random.Random(f"{settings.port}/{preferred}")  # noqa: S311
    for port in (*([preferred] if usual else []), *chance.sample(_SPARE_PORTS, 100)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
            return port
    raise SetupError("This machine has no free port left.")


def ray_environment(settings: Settings) -> dict[str, str]:
    """The environment of every process of the head. Holds no credential: jobs' workers inherit it."""
    # Every process of the head inherits the data folder's name: that is how `down` knows its own.
    withheld = {"GAELP_DATABASE_URL", "GAELP_JWT_SECRET", "GAELP_TOKEN"}
    kept = {k: v for k, v in os.environ.items() if k not in withheld}
    # Ray's default is one folder for the machine, which two services would fight over.
    proxy = Path(tempfile.gettempdir()) / f"gaelp-haproxy-{settings.port}"
    return kept | {
        _MARK: str(settings.data_dir),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(proxy / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(proxy / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(proxy),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(proxy / "server-state"),
        "RAY_SERVE_ENABLE_HA_PROXY": os.environ.get("RAY_SERVE_ENABLE_HA_PROXY", "1"),
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": os.environ.get("RAY_SERVE_THROUGHPUT_OPTIMIZED", "1"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port(9101, settings)),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port(8404, settings)),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port(8500, settings)),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(free_port(9500, settings)),
        "AUTOSCALER_METRIC_PORT": str(free_port(44217, settings)),
        "DASHBOARD_METRIC_PORT": str(free_port(44227, settings)),
        "RAY_GRAFANA_HOST": "",
    }


def deploy(settings: Settings, address: str) -> None:
    """Start the driver and return when it has created the actors and deployed the API."""
    stop_processes(settings, _DRIVER_MARK)
    log = settings.data_dir / "driver.log"
    with log.open("wb") as errors:
        driver = subprocess.Popen(
            [sys.executable, "-m", "gaelp_ray.cli.driver", address],
            env=os.environ | authentication(settings) | {_DRIVER_MARK: str(settings.data_dir)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    assert driver.stdin is not None
    assert driver.stdout is not None
    with contextlib.suppress(BrokenPipeError), driver.stdin:
        pickle.dump(settings, driver.stdin)
    with driver.stdout:
        said = driver.stdout.readline().decode().strip()
    if said != DEPLOYED:
        raise SetupError(f"The API was not deployed; the reason is in {log}.")


def retire_others(settings: Settings, cluster: str) -> None:
    """On a machine of its own, a new head is proof that the launchers of every earlier one are dead."""
    runtime = Runtime(settings)
    if _serves_this_machine_only(settings):
        runtime.store.transact(
            launching.retire_silent,
            cluster=cluster,
            silence=timedelta(0),
            policy=runtime.retry_policy,
            now=datetime.now(UTC),
        )
    runtime.store.close()


def _serves_this_machine_only(settings: Settings) -> bool:
    """Whether the database is the embedded one of this data folder."""
    url = settings.database_url or ""
    return str(settings.data_dir) in url


def wait_ready(settings: Settings) -> None:
    """Wait until the API says that it is ready."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{local.base_url(settings)}/ready", timeout=5).status_code == httpx.codes.OK:
                return
        time.sleep(0.1)
    raise SetupError(f"The API was not ready after {READY_S:.0f} s; see {settings.data_dir / 'ray.log'}.")


def ray_is_running(settings: Settings) -> bool:
    """Whether the head that `gaelp up` started here still lives."""
    return bool(head_processes(settings))


def leave_cluster(settings: Settings) -> None:
    """Take the API and the actors off a cluster that was joined; the cluster itself goes on."""
    joined = settings.data_dir / _JOINED
    if not joined.exists():
        return
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


def authentication(settings: Settings) -> dict[str, str]:
    """The variable that makes Ray speak to this data folder's head in the mode in which the head listens.

    `ray start` turns token authentication on by itself where it finds a token, as any `ray.init()` of the
    same user may have left one; a driver does not.
    """
    for process in head_processes(settings):
        with contextlib.suppress(psutil.Error):
            mode = process.environ().get("RAY_AUTH_MODE")
            if mode is not None:
                return {"RAY_AUTH_MODE": mode}
    return {}


def stop_processes(settings: Settings, mark: str) -> None:
    """End every process that `gaelp up` started under this mark; of the head that is all that runs on it."""
    # More than once: a process that was just being started is not in the first list.
    while processes := marked_processes(settings, mark):
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGTERM)
        _gone, alive = psutil.wait_procs(processes, timeout=5)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=5)


def head_processes(settings: Settings) -> list[psutil.Process]:
    """Every live process of this data folder's head: Ray itself, actors, proxies, jobs."""
    return marked_processes(settings, _MARK)


def marked_processes(settings: Settings, mark: str) -> list[psutil.Process]:
    """Every live process that bears this data folder's mark, with its descendants.

    Descendants too, because a process that renames itself, as Ray's do, may overwrite the mark.
    """
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(mark) == str(settings.data_dir):
                found |= {process, *process.children(recursive=True)}
    return [p for p in found if p.pid not in mine and _is_alive(p)]


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def secret_of(text: str) -> Any:
    from pydantic import SecretStr  # noqa: PLC0415

    return SecretStr(text)


def _short(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")
