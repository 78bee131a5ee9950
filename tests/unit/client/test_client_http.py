from __future__ import annotations

import json
import math
import re

import httpx
import pytest
from client_network import Connect

from gaelp_ray.client import GaelpClient
from gaelp_ray.client.http import RETRY_AFTER_CAP_S, TRIES
from gaelp_ray.domain.errors import GaelpError, InvalidInput, NotFound, Unavailable

JOB = {"id": 1, "agent_id": 2, "name": "j", "status": "queued", "phase": "queued"}


class Flaky:
    """Fails so many times with ``failure``, an answer or an exception, then answers a job."""

    def __init__(self, failures: int, failure: httpx.Response | Exception) -> None:
        self.left, self.failure = failures, failure
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.left -= 1
        if self.left < 0:
            return httpx.Response(200, json=JOB)
        if isinstance(self.failure, Exception):
            raise self.failure
        return self.failure


@pytest.mark.parametrize(
    "failure",
    [
        httpx.Response(502),
        httpx.Response(503),
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("closed"),
    ],
    ids=str,
)
def test_a_get_outlives_a_replica_that_goes(
    connect: Connect, pauses: list[float], failure: httpx.Response | Exception
) -> None:
    service = Flaky(2, failure)

    assert connect(service).jobs.get(1).id == 1
    assert len(service.requests) == 3
    assert len(pauses) == 2


def test_pauses_grow(connect: Connect, pauses: list[float]) -> None:
    connect(Flaky(3, httpx.Response(503))).jobs.get(1)

    assert pauses == sorted(pauses)
    assert pauses[-1] > 2 * pauses[0]


@pytest.mark.parametrize(("asked", "least"), [("7", 7.0), ("999999", RETRY_AFTER_CAP_S), ("soon", 0.0)])
def test_the_server_may_ask_for_a_longer_pause(
    connect: Connect, pauses: list[float], asked: str, least: float
) -> None:
    connect(Flaky(1, httpx.Response(503, headers={"Retry-After": asked}))).jobs.get(1)

    assert least <= pauses[0] < least + 1


def test_a_submit_is_repeated_with_the_same_key_and_body(connect: Connect, pauses: list[float]) -> None:
    service = Flaky(2, httpx.ReadError("reset"))

    connect(service).jobs.submit(2, hyperparameters={"epochs": 3})

    assert len({request.headers["Idempotency-Key"] for request in service.requests}) == 1
    assert {json.loads(request.content)["hyperparameters"]["epochs"] for request in service.requests} == {3}


def test_every_submit_has_a_key_of_its_own(connect: Connect) -> None:
    service = Flaky(0, httpx.Response(500))
    client = connect(service)

    client.jobs.submit(2)
    client.jobs.submit(2)

    assert len({request.headers["Idempotency-Key"] for request in service.requests}) == 2


@pytest.mark.parametrize("failure", [httpx.Response(503), httpx.ReadError("reset")], ids=str)
def test_what_would_happen_twice_is_not_repeated(
    connect: Connect, pauses: list[float], failure: httpx.Response | Exception
) -> None:
    service = Flaky(1, failure)

    with pytest.raises(Unavailable):
        connect(service).agents.create("bidder")
    assert len(service.requests) == 1


def test_no_answer_at_all_says_how_to_start_the_service(connect: Connect, pauses: list[float]) -> None:
    service = Flaky(99, httpx.ConnectError("refused"))

    with pytest.raises(Unavailable, match=re.escape("http://service:8000") + ".*gaelp up"):
        connect(service).jobs.get(1)
    assert len(service.requests) == TRIES


def test_a_timeout_is_not_repeated_for_the_caller_chose_it(connect: Connect, pauses: list[float]) -> None:
    service = Flaky(1, httpx.ReadTimeout(""))

    with pytest.raises(Unavailable, match="ReadTimeout"):
        connect(service).jobs.get(1)
    assert len(service.requests) == 1


def test_an_error_of_the_service_is_raised_at_once(connect: Connect, pauses: list[float]) -> None:
    with pytest.raises(NotFound, match="no job 1"):
        connect(
            lambda _: httpx.Response(404, json={"code": "not_found", "detail": "There is no job 1."})
        ).jobs.get(1)
    assert pauses == []


def test_something_else_at_the_address_is_named_as_such(connect: Connect) -> None:
    with pytest.raises(GaelpError, match="not gaelp-ray"):
        connect(lambda _: httpx.Response(200, html="<h1>Hello</h1>")).jobs.get(1)


def test_a_list_of_another_shape_is_an_error_of_ours(connect: Connect) -> None:
    with pytest.raises(GaelpError, match="same version"):
        connect(lambda _: httpx.Response(200, json=["what"])).jobs.list()


@pytest.mark.parametrize("value", [math.nan, object()])
def test_what_json_cannot_hold_is_refused_before_it_is_sent(connect: Connect, value: object) -> None:
    with pytest.raises(InvalidInput, match="JSON"):
        connect(Flaky(0, httpx.Response(500))).jobs.submit(1, hyperparameters={"x": value})


def test_address_and_token_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAELP_URL", "https://gaelp.example/base/")
    monkeypatch.setenv("GAELP_TOKEN", " from-env\n")
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=JOB)

    with GaelpClient(transport=httpx.MockTransport(handler)) as client:
        client.jobs.get(1)

    assert str(seen[0].url) == "https://gaelp.example/base/api/v1/jobs/1"
    assert seen[0].headers["Authorization"] == "Bearer from-env"


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://", "http://host:port"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="address"):
        GaelpClient(url)


@pytest.mark.parametrize("token", ["tök", "a b", "a\nb"])
def test_what_is_no_token_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        GaelpClient(token=token)
    assert token not in refused.value.message


@pytest.mark.parametrize(("status", "answer"), [(200, True), (503, False)])
def test_readiness_is_yes_or_no_at_once(
    connect: Connect, pauses: list[float], status: int, answer: bool
) -> None:
    assert connect(lambda _: httpx.Response(status)).ready() is answer
    assert pauses == []
