"""What a job brings along, on a real cluster: its packages, its code, and the checkpoints it begins with."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service import TRAINERS, Service, eventually
from tests.wheels import a_wheel


def attempts(api: httpx.Client, job: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(f"/jobs/{job['id']}/attempts").json()["items"]
    return found


def log_of(api: httpx.Client, job: dict[str, Any]) -> str:
    return eventually(lambda: api.get(f"/jobs/{job['id']}/logs").text)


def test_a_jobs_packages_are_its_own_and_the_service_saves_its_checkpoints(
    service: Service, api: httpx.Client
) -> None:
    a_wheel(service.home / "wheels", "fsspec", "0.6.0")
    a_wheel(service.home / "wheels", "pydantic", "1.0")
    wanted = ["fsspec==0.6.0", "pydantic<2"]
    agent = service.agent(api, entrypoint="trainers:show_packages", requirements=wanted)
    jobs = [service.submit(api, agent) for _ in range(3)]
    for job in jobs:
        ended = service.wait(api, job)
        assert ended["status"] == "completed", ended["message"]
        assert ended["result"] == {"fsspec": "0.6.0", "pydantic": "1.0"}
        assert [c["step"] for c in api.get(f"/jobs/{job['id']}/checkpoints").json()["items"]] == [1]
    said = "".join(api.get(f"/jobs/{job['id']}/logs").text for job in jobs)
    assert said.count("gaelp: installing fsspec==0.6.0, pydantic<2") == 1, "the others find it made already"


def test_packages_that_do_not_exist_end_a_job_at_once_with_the_installers_reason(
    service: Service, api: httpx.Client
) -> None:
    (service.home / "wheels").mkdir(exist_ok=True)
    job = service.submit(api, service.agent(api, requirements=["numpy==99.99.98"]))
    ended = service.wait(api, job)
    assert (ended["status"], ended["cause"], ended["losses"]) == ("failed", "misconfigured", 0)
    assert "numpy==99.99.98" in ended["message"]
    assert "numpy==99.99.98" in log_of(api, job)
    assert len(attempts(api, job)) == 1


@pytest.mark.parametrize("name", ["nothing here (2) & co", "a file"])
def test_code_that_is_not_there_ends_a_job_at_once_and_is_named(
    service: Service, api: httpx.Client, tmp_path: Path, name: str
) -> None:
    (tmp_path / "a file").touch()
    job = service.submit(api, service.agent(api, working_dir=str(tmp_path / name)))
    ended = service.wait(api, job)
    assert (ended["status"], ended["cause"], ended["attempt"]) == ("failed", "misconfigured", 1)
    assert str(tmp_path / name) in ended["message"]


def test_an_archive_with_code_is_run(service: Service, api: httpx.Client, tmp_path: Path) -> None:
    path = tmp_path / "my code (2) & co.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(TRAINERS / "trainers.py", "trainers.py")
    for address in (str(path), f"file://{tmp_path}/my%20code%20(2)%20&%20co.tar.gz"):
        agent = service.agent(api, working_dir=address)
        job = service.submit(api, agent, hyperparameters={"steps": 2})
        assert service.wait(api, job)["result"]["counted_to"] == 2


#: id: (fields of an agent, words of the refusal)
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a folder of 300 characters": ({"working_dir": "/" + "d" * 300}, "too long"),
    "a relative folder": ({"working_dir": "./jobs"}, "must be an absolute path or a URI"),
    "an option of the installer": ({"requirements": ["--index-url=http://evil"]}, "options, addresses"),
    "a package from a repository": ({"requirements": ["git+https://host/x"]}, "options, addresses"),
    "the service itself": ({"requirements": ["gaelp_ray"]}, "may not name gaelp-ray"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_agent_is_refused_with(api: httpx.Client, case: str) -> None:
    fields, words = REFUSED[case]
    answer = api.post("/agents", json={"name": f"refused {case}", "type": "simulation", **fields})
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


def test_a_job_is_refused_that_would_start_from_nothing(service: Service, api: httpx.Client) -> None:
    agent = service.agent(api, entrypoint="trainers:nothing")
    source = service.wait(api, service.submit(api, agent))
    answer = api.post("/jobs", json={"agent_id": agent["id"], "training_config": {"from_job": source["id"]}})
    assert answer.status_code == 422
    assert f"job {source['id']} ended as completed and has no checkpoint" in answer.json()["detail"]


def test_a_job_whose_newest_checkpoint_is_spoilt_goes_on_from_the_one_before(
    service: Service, api: httpx.Client
) -> None:
    agent = service.agent(api, entrypoint="trainers:spoil")
    ended = service.wait(api, service.submit(api, agent, hyperparameters={"storage": str(service.home)}))
    assert ended["status"] == "completed", ended["message"]
    assert ended["result"] == {"resumed_from": 2, "attempt": 2}
    assert attempts(api, ended)[1]["resumed_from_step"] == 2
    [notice] = ended["notices"]
    assert notice.endswith("So it goes on from step 2.")
