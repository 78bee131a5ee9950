"""A job that spends simulated money, with real processes: what is booked, and when it is stopped."""

from __future__ import annotations

from typing import Any

import pytest
from fake_link import FakeLink, Start

from gaelp_ray.domain.errors import Halted
from gaelp_ray.domain.jobs import EndCause


def test_a_key_is_booked_once(start: Start, link: FakeLink) -> None:
    assert start("jobs:spend").outcome().cause is EndCause.SUCCESS
    assert link.bank.used() == (0, 4_000_000)


def test_over_its_budget_a_job_ends(start: Start) -> None:
    link = FakeLink(budget_micros=3_000_000)
    outcome = start("jobs:spend", link=link).outcome()
    assert outcome.cause is EndCause.BUDGET
    assert outcome.message == "2 EUR are more than the 1 left of the total limit of team team 1, 3."
    assert link.bank.used() == (0, 2_000_000)


def test_a_job_may_handle_the_end_of_its_budget(start: Start) -> None:
    outcome = start("jobs:spend_with_care", link=FakeLink(budget_micros=5)).outcome()
    assert outcome.cause is EndCause.SUCCESS
    assert outcome.result == {
        "refused": "2 EUR are more than the 0.000005 left of the total limit of team team 1, 0.000005.",
        "left": 5,
    }


def test_a_job_that_goes_on_asking_is_stopped_and_then_ended(start: Start) -> None:
    link = FakeLink(budget_micros=5_000_000)
    outcome = start("jobs:spend_for_ever", link=link, stop_grace_s=0.1).outcome()
    assert outcome.cause is EndCause.BUDGET
    assert "are more than the 1 left" in outcome.message
    assert "gaelp: told to stop: budget" in link.output
    assert link.bank.used() == (0, 4_000_000)


def test_a_kill_switch_stops_a_job_at_its_next_spend(
    start: Start, link: FakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    def halted(*_: Any) -> None:
        raise Halted("The kill switch of agent 3 is engaged.")

    monkeypatch.setattr(link, "spend", halted)
    outcome = start("jobs:spend").outcome()
    assert outcome.cause is EndCause.BUDGET
    assert "The kill switch of agent 3 is engaged." in outcome.message


def test_a_leased_budget_is_spent_to_the_last_micro_that_fits(start: Start) -> None:
    link = FakeLink(budget_micros=250)
    assert start("jobs:lease", link=link).outcome().result == {"spent": 245}
    assert link.bank.used() == (0, 245)


def test_a_lease_that_was_forgotten_is_settled_with_what_was_spent(start: Start, link: FakeLink) -> None:
    assert start("jobs:lease_and_forget").outcome().cause is EndCause.SUCCESS
    assert link.bank.used() == (0, 30)


def test_a_process_that_dies_has_spent_its_lease(start: Start, link: FakeLink) -> None:
    assert start("jobs:lease_and_vanish").outcome().cause is EndCause.USER_ERROR
    assert link.bank.used() == (0, 100)


def test_a_job_of_simulated_money_places_no_orders(start: Start) -> None:
    outcome = start("jobs:order_and_leave").outcome()
    assert outcome.cause is EndCause.USER_ERROR
    assert "spends simulated money and places no orders" in outcome.message
