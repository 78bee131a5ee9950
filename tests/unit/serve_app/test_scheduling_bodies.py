"""What bodies about scheduling mean, and what they are refused for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from gaelp_ray.domain import cursors
from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.holds import HoldMode
from gaelp_ray.domain.jobs import JobEdit, JobStatus
from gaelp_ray.domain.quotas import EVERYTHING, UNLIMITED, Amounts, QuotaKind
from gaelp_ray.domain.requests import Spot
from gaelp_ray.services.quotas import UsagePoint
from gaelp_ray.store.jobs import JobFilter
from gaelp_ray.store.quotas import StoredQuota
from serve_app.app import _ROUTERS
from serve_app.routers.quotas import _after
from serve_app.schemas.agents import AgentPatch
from serve_app.schemas.common import Patch
from serve_app.schemas.holds import HoldIn
from serve_app.schemas.jobs import CancelIn, JobIn, JobPatch
from serve_app.schemas.quotas import QuotaIn, QuotaOut, UsageHistoryOut
from tests.builders import GIB, T0

DEADLINE = datetime(2030, 1, 31, 18, tzinfo=UTC)


def test_a_job_says_where_how_and_until_when_it_runs() -> None:
    new = JobIn.model_validate(
        {
            "agent_id": 1,
            "workers": 3,
            "label_selector": {"zone": "a"},
            "spot": "only",
            "preemptible": True,
            "deadline": "2030-01-31T18:00:00Z",
            "expected_duration_seconds": 90,
        }
    ).new()

    assert (new.workers, new.label_selector, new.spot) == (3, {"zone": "a"}, Spot.ONLY)
    assert (new.preemptible, new.deadline, new.expected_duration_s) == (True, DEADLINE, 90.0)


REFUSED_JOBS: dict[str, tuple[dict[str, Any], str]] = {
    "no workers": ({"workers": 0}, "workers"),
    "too many workers": ({"workers": 1025}, "workers"),
    "a deadline without a zone": ({"deadline": "2030-01-31T18:00:00"}, "deadline"),
    "a label that is a number": ({"label_selector": {"zone": 1}}, "label_selector.zone"),
    "an unknown market": ({"spot": "maybe"}, "spot"),
    "a yes in words": ({"preemptible": "yes"}, "preemptible"),
    "no time at all": ({"expected_duration_seconds": 0}, "expected_duration_seconds"),
}


@pytest.mark.parametrize("case", REFUSED_JOBS)
def test_a_job_is_refused_with(case: str) -> None:
    fields, field = REFUSED_JOBS[case]
    with pytest.raises(ValidationError) as raised:
        JobIn.model_validate({"agent_id": 1} | fields)
    assert [".".join(map(str, each["loc"])) for each in raised.value.errors()] == [field]


EDITS: dict[str, tuple[dict[str, Any], JobEdit]] = {
    "nothing": ({}, JobEdit()),
    "a priority": ({"priority": 9}, JobEdit(priority=9)),
    "no more preemptible": ({"preemptible": False}, JobEdit(preemptible=False)),
    "a deadline": ({"deadline": "2030-01-31T18:00:00Z"}, JobEdit(deadline=DEADLINE)),
    "no deadline": ({"deadline": None}, JobEdit(cleared=frozenset({"deadline"}))),
    "times": (
        {"timeout_seconds": 5, "expected_duration_seconds": 3, "max_retries": 0},
        JobEdit(timeout_s=5.0, expected_duration_s=3.0, max_retries=0),
    ),
}


CLEARED = {
    "deadline": "deadline",
    "timeout_seconds": "timeout_s",
    "max_retries": "max_retries",
    "expected_duration_seconds": "expected_duration_s",
}
PATCHES: dict[type[Patch], set[str]] = {
    JobPatch: set(CLEARED),
    AgentPatch: {"description", "budget_limit"},
}


def test_every_body_of_a_patch_goes_by_one_rule() -> None:
    assert set(Patch.__subclasses__()) == set(PATCHES)
    patched = [
        route for router in _ROUTERS for route in router.routes if "PATCH" in getattr(route, "methods", ())
    ]
    bodies = {route.body_field.field_info.annotation for route in patched}  # type: ignore[attr-defined]
    assert bodies == set(PATCHES)


@pytest.mark.parametrize(
    ("body", "field"), [(body, field) for body in PATCHES for field in body.model_fields]
)
def test_null_clears_a_field_or_is_refused_with_a_sentence(body: type[Patch], field: str) -> None:
    if field in PATCHES[body]:
        assert body.model_validate({field: None}).cleared == {field}
        assert body.model_validate({}).cleared == frozenset()
    else:
        with pytest.raises(ValidationError, match=f"`{field}` must have a value; leave it out to keep it"):
            body.model_validate({field: None})


@pytest.mark.parametrize("field", CLEARED)
def test_a_job_hears_what_null_clears(field: str) -> None:
    change = JobPatch.model_validate({field: None}).change()
    assert change == JobEdit(cleared=frozenset({CLEARED[field]}))


def test_an_agents_description_is_taken_away_by_null() -> None:
    assert AgentPatch.model_validate({"description": None}).fields() == {"description": ""}
    assert AgentPatch.model_validate({"budget_limit": None}).fields() == {"budget_limit_micros": None}


@pytest.mark.parametrize("case", EDITS)
def test_an_edit_changes(case: str) -> None:
    body, change = EDITS[case]
    assert JobPatch.model_validate(body).change() == change


def test_many_jobs_are_named_by_all_that_is_said() -> None:
    body = CancelIn.model_validate({"ids": [1, 2], "agent_id": 7, "status": "queued", "owner": "bob"})
    assert body.wanted() == JobFilter(owner="bob", agent_id=7, status=JobStatus.QUEUED, ids=(1, 2))


def test_no_ids_are_something_said_and_name_nothing() -> None:
    assert CancelIn(ids=[]).wanted() == JobFilter(ids=())


@pytest.mark.parametrize("body", [{}, {"reason": "all of it"}, {"limit": 5}], ids=str)
def test_everything_is_never_cancelled_by_saying_nothing(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="Say which jobs"):
        CancelIn.model_validate(body).wanted()


def test_a_quota_is_written_in_quantities_and_read_back_so() -> None:
    body = QuotaIn.model_validate(
        {
            "limit": {"cpu": "500m", "memory": "2Gi", "gpu": 4, "jobs": 20, "storage": "unlimited"},
            "team": "ads",
            "borrowing": {"gpu": 0},
            "weight": 2,
            "queued": 50,
        }
    )

    quota = body.quota(QuotaKind.USER, "ann")

    assert quota.limit == Amounts(cpu=500, memory=2 * GIB, gpu=4000, storage=UNLIMITED, jobs=20)
    assert quota.borrowing == Amounts(UNLIMITED, UNLIMITED, 0, UNLIMITED, UNLIMITED)
    assert (quota.lending, quota.team, quota.weight, quota.queued) == (EVERYTHING, "ads", 2.0, 50)
    shown = QuotaOut.of(StoredQuota(quota, T0, "root"))
    assert shown.limit == {"cpu": "500m", "memory": "2Gi", "gpu": "4", "storage": "unlimited", "jobs": "20"}
    assert (shown.queued, shown.updated_by) == (50, "root")
    again = shown.model_dump(include={"limit", "borrowing", "lending", "team", "weight", "queued"})
    assert QuotaIn.model_validate(again).quota(QuotaKind.USER, "ann") == quota


def test_a_quota_of_which_nothing_is_said_is_no_limit() -> None:
    quota = QuotaIn().quota(QuotaKind.TEAM, "ads")

    assert (quota.limit, quota.queued) == (EVERYTHING, UNLIMITED)
    assert QuotaOut.of(StoredQuota(quota)).queued == "unlimited"


BAD_QUOTAS: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown resource": ({"limit": {"tpu": 1}}, "limit"),
    "a broken quantity": ({"lending": {"memory": "8GB!"}}, "lending.memory"),
    "half a job": ({"limit": {"jobs": "1.5"}}, "limit.jobs"),
    "less than nothing": ({"borrowing": {"gpu": -1}}, "borrowing.gpu"),
}


@pytest.mark.parametrize("case", BAD_QUOTAS)
def test_a_quota_is_refused_and_the_field_named_with(case: str) -> None:
    body, field = BAD_QUOTAS[case]
    with pytest.raises(InvalidInput) as raised:
        QuotaIn.model_validate(body).quota(QuotaKind.USER, "ann")
    assert raised.value.details["field"] == field
    assert f"`{field}" in raised.value.message


@pytest.mark.parametrize(
    ("resource", "counted", "unit", "shown"),
    [("gpu", 1500.0, "GPUs", 1.5), ("memory", float(GIB), "bytes", float(GIB)), ("jobs", 2.5, "jobs", 2.5)],
)
def test_usage_over_time_is_in_units_people_read(
    resource: str, counted: float, unit: str, shown: float
) -> None:
    told = UsageHistoryOut.of(resource, [UsagePoint(T0, counted)])

    assert (told.unit, told.items[0].average) == (unit, shown)


def test_the_next_page_of_quotas_begins_after_the_last_name_even_an_odd_one() -> None:
    assert _after(cursors.write("quotas", "team:a:b")) == (QuotaKind.TEAM, "a:b")
    assert _after(None) is None
    for cursor in (cursors.write("quotas", "robot:x"), cursors.write("jobs", "team:a"), "team:a", ""):
        with pytest.raises(InvalidInput, match="cursor"):
            _after(cursor)


def test_a_hold_is_a_plain_one_unless_it_says_drain() -> None:
    assert HoldIn().mode is HoldMode.HOLD
    assert HoldIn.model_validate({"mode": "hold_and_drain"}).mode is HoldMode.HOLD_AND_DRAIN
