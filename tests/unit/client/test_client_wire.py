from __future__ import annotations

import pytest

from gaelp_ray.client import Hello, Job, LiveMetrics, LiveState, to_json
from gaelp_ray.client.messages import parse
from gaelp_ray.client.models import Event
from gaelp_ray.client.wire import read
from gaelp_ray.domain.errors import GaelpError, NotFound

STATE = (
    '{"type": "state", "agent_id": 7, "job_id": 1, "event": "claim", "from": "starting", "to": "running",'
    ' "status": "running", "message": "", "at": "2026-01-02T00:00:00+00:00"}'
)
METRICS = (
    '{"type": "metrics", "agent_id": 7, "at": "2026-01-02T00:00:00Z", "step": 3, "metrics": {"reward": 1.5}}'
)


def test_what_is_read_is_written_back_the_same() -> None:
    event = {
        "id": 1,
        "event": "admit",
        "to_state": "admitted",
        "from_state": "queued",
        "attempt": 1,
        "actor": "system",
        "message": "",
        "data": {"node": "n"},
        "at": "2026-01-02T03:04:05+00:00",
    }

    assert to_json(read(Event, event)) == event


@pytest.mark.parametrize(
    "data",
    [
        {"agent_id": 1, "name": "j", "status": "queued", "phase": "queued"},
        {"id": 1, "agent_id": 1, "name": "j", "status": "queued", "phase": "queued", "submitted_at": "noon"},
        {"id": 1, "agent_id": 1, "name": "j", "status": "queued", "phase": "queued", "progress": 3},
        None,
    ],
    ids=["without its id", "with no time", "with no object", "that is nothing"],
)
def test_a_job_in_another_shape_is_an_error_of_ours(data: object) -> None:
    with pytest.raises(GaelpError, match=r"Job .* same version"):
        read(Job, data)


def test_messages_are_told_apart_by_their_type() -> None:
    state, metrics = parse(STATE), parse(METRICS)

    assert isinstance(state, LiveState)
    assert (state.from_state, state.to_state) == ("starting", "running")
    assert isinstance(metrics, LiveMetrics)
    assert (metrics.job_id, metrics.step, metrics.metrics) == (None, 3, {"reward": 1.5})
    assert parse('{"type": "hello", "agent_id": 7, "server": "x"}') == Hello(7)


def test_live_states_are_written_with_the_words_of_the_service() -> None:
    written = to_json(parse(STATE))

    assert (written["from"], written["to"]) == ("starting", "running")


def test_an_error_message_is_raised_as_the_error_it_tells() -> None:
    with pytest.raises(NotFound, match="no agent 7") as raised:
        parse('{"type": "error", "status": 404, "code": "not_found", "detail": "There is no agent 7."}')
    assert raised.value.details == {}


def test_a_message_of_a_newer_service_is_nothing_to_us() -> None:
    assert parse('{"type": "weather", "sky": "blue"}') is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"type": "metrics"}'])
def test_a_broken_message_is_an_error_of_ours(text: str) -> None:
    with pytest.raises(GaelpError):
        parse(text)
