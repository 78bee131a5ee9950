"""The first requests every user sends, as they are written in the documents users have."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import httpx
import pytest

from tests.service import Service, eventually

AGENT = (
    '{"name":"campaign-optimizer-v2","type":"real_deployment","version":"2.0.0",'
    '"docker_image":"gcr.io/gaelp/optimizer:v2.0",'
    '"resource_requirements":{"cpu":"4","memory":"8Gi","gpu":"1"},"budget_limit":5000.0}'
)


def curl(service: Service, token: str, path: str, body: str | None = None) -> tuple[int, Any]:
    """curl as a user types it: no content type, so that it claims to send a form."""
    command = ["curl", "-s", "-m", "30", "-w", "\n%{http_code}", f"{service.url}{path}"]
    command += ["-H", f"Authorization: Bearer {token}"]
    if body is not None:
        command += ["-X", "POST", "-d", body]
    answer, _, status = subprocess.run(command, capture_output=True, text=True, check=True).stdout.rpartition(
        "\n"
    )
    return int(status), json.loads(answer)


@pytest.fixture(scope="module")
def token(service: Service) -> str:
    return service.token("seed-user")


def test_the_seed_requests_work_as_written(service: Service, token: str) -> None:
    status, agent = curl(service, token, "/api/v1/agents", AGENT)
    assert status == 201
    assert isinstance(agent["id"], int)
    assert agent["resource_requirements"] == {"cpu": "4", "memory": "8Gi", "gpu": "1", "storage": "0"}
    assert agent["budget_limit"] == 5000.0

    body = {
        "agent_id": agent["id"],
        "name": "run-1",
        "priority": 8,
        "hyperparameters": {"epochs": 10, "learning_rate": 0.001},
        "training_config": {},
    }
    status, job = curl(service, token, "/api/v1/jobs", json.dumps(body))
    assert status == 201
    assert isinstance(job["id"], int)
    assert job["status"] == "queued"
    assert "gcr.io/gaelp/optimizer:v2.0" in job["notices"][0], "the user is told that the image is not used"

    status, metrics = curl(service, token, f"/api/v1/agents/{agent['id']}/metrics")
    assert (status, metrics["items"]) == (200, [])

    status, found = curl(service, token, "/api/v1/status")
    assert status == 200
    assert found["cluster"]["total"]["cpu"] == "8"
    assert found["scheduler"]["leading"]

    with service.client(token) as api:
        # 8 GiB and a whole GPU fit this test's node, so the job really runs and must be told to stop.
        assert api.post(f"/jobs/{job['id']}/cancel").status_code == 200
        assert service.wait(api, job)["status"] == "cancelled"


def test_the_exporter_shows_the_products_own_metrics(service: Service, token: str) -> None:
    def exported() -> bool:
        text = httpx.get(f"http://127.0.0.1:{service.metrics_port}/metrics", timeout=10).text
        return "gaelp_jobs{" in text and "gaelp_scheduler_epoch" in text

    eventually(exported, within_s=60, what="gaelp metrics on Ray's exporter")


def test_the_api_exports_what_the_database_knows(service: Service) -> None:
    text = httpx.get(f"{service.url}/metrics", timeout=10).text
    assert 'gaelp_jobs{phase="queued"}' in text


def test_the_openapi_document_has_examples(service: Service) -> None:
    document = httpx.get(f"{service.url}/openapi.json", timeout=10).json()
    assert document["components"]["schemas"]["AgentIn"]["examples"][0]["name"] == "campaign-optimizer-v2"
    assert "/api/v1/jobs/{job_id}/logs" in document["paths"]
