"""One worker of a gang, with real processes: what it is told, and what of it counts."""

from __future__ import annotations

import pytest
from fake_link import FakeLink, Start

from gaelp_ray.domain.attempts import Seat
from gaelp_ray.domain.gangs import Member
from gaelp_ray.domain.jobs import EndCause

GANG = [Member(rank, Seat(f"node-{rank}"), f"10.0.0.{rank + 1}", 29_500) for rank in range(3)]


@pytest.fixture
def link() -> FakeLink:
    return FakeLink(members=GANG)


def test_it_knows_its_rank_and_where_its_peers_are(start: Start) -> None:
    result = start("gangs:show", place={"rank": 2}).outcome().result
    assert result == {
        "rank": 2,
        "world_size": 3,
        "peers": ["10.0.0.1", "10.0.0.2", "10.0.0.3"],
        "environment": ["2", "3", "0", "10.0.0.1", "29500"],
    }


def test_a_job_of_one_worker_is_rank_0_of_1_and_sees_no_group(start: Start) -> None:
    result = start("gangs:show", link=FakeLink()).outcome().result
    assert result == {
        "rank": 0,
        "world_size": 1,
        "peers": ["127.0.0.1"],
        "environment": [None] * 5,
    }


def test_what_rank_0_reports_and_saves_counts(start: Start, link: FakeLink) -> None:
    assert start("jobs:count").outcome().result == {"resumed": None, "step": 1}
    assert [step for step, _, _ in link.saved] == [1]
    assert link.values("reward") == [1.0]


def test_what_others_report_and_save_is_left_out(start: Start, link: FakeLink) -> None:
    outcome = start("jobs:count", place={"rank": 1}).outcome()
    assert (outcome.cause, outcome.result) == (EndCause.SUCCESS, {"resumed": None, "step": 1})
    assert (link.saved, link.points) == ([], [])


def test_only_rank_0_may_spend(start: Start, link: FakeLink) -> None:
    outcome = start("jobs:spend", place={"rank": 1}).outcome()
    assert outcome.cause is EndCause.USER_ERROR
    assert "Only rank 0 of a job may spend." in outcome.message
    assert link.bank.book.holds == {}


def test_each_line_of_its_log_begins_with_its_rank(start: Start, link: FakeLink) -> None:
    start("gangs:talk", place={"rank": 1}).outcome()
    assert link.output == "[rank 1] one\n[rank 1] two\n[rank 1] no end\n"


def test_the_logs_of_all_ranks_together_are_no_longer_than_one(start: Start, link: FakeLink) -> None:
    start("jobs:print_much", hyperparameters={"lines": 500}, log_limit_bytes=30_000).outcome()
    kept, notice, _ = link.output.partition("bytes are left out here")
    assert notice
    assert len(kept) <= 10_000 + len("\n[rank 0] ")
