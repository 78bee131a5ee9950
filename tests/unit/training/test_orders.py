"""Jobs that spend real money on a platform, with real processes and a sandbox; and the desk by itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fake_link import Attempt, FakeLink, Start

from gaelp_ray.domain.attempts import Directive
from gaelp_ray.domain.errors import Halted, InvalidInput, NotFound, Unavailable
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.domain.ledger import HoldState, Money
from gaelp_ray.domain.platforms import DeliveryReport, Order
from gaelp_ray.training import supervisor
from gaelp_ray.training.orders import Denied, Proposal
from gaelp_ray.training.platforms import desk, registry
from gaelp_ray.training.platforms.desk import Desk
from gaelp_ray.training.platforms.registry import Site
from gaelp_ray.training.platforms.sandbox import GOOD, LastingSandbox, Manners, SandboxPlatform
from tests.builders import T0
from tests.service import eventually

GOOD_MANNERS = {
    "max_delay_s": 0,
    "over_delivery_percent": 0,
    "duplicates_percent": 0,
    "outage_percent": 0,
    "shuffle_percent": 0,
}
BAD_MANNERS = {"max_delay_s": 0.1, "duplicates_percent": 50, "outage_percent": 30, "runs_on_s": 0.05}
QUICK = {"name": "sandbox", "lasts_s": 0.1}
MINUTE = timedelta(minutes=1)


@pytest.fixture
def begin(start: Start, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Attempt]:
    """Start a job of real money on a sandbox of these manners."""
    monkeypatch.setattr(supervisor, "POLL_S", 0.02)

    def begin(entrypoint: str, platform: dict[str, Any], *amounts: int, **fields: Any) -> Attempt:
        given = {"money": Money.REAL, "config": {"platform": QUICK | platform}}
        return start(entrypoint, hyperparameters={"amounts": amounts}, **given | fields)

    return begin


def test_an_order_is_placed_reported_and_settled(begin: Callable[..., Attempt], link: FakeLink) -> None:
    outcome = begin("jobs:order", GOOD_MANNERS, 1000, 2000).outcome()
    assert outcome.result == {
        "placed": [["0", 1000], ["1", 2000]],
        "refused": [],
        "spent": {"0": 1000, "1": 2000},
    }
    assert link.bank.used() == (0, 3000)


def test_manners_change_nothing_about_what_is_booked(begin: Callable[..., Attempt], link: FakeLink) -> None:
    outcome = begin("jobs:order", BAD_MANNERS, *[1000] * 5).outcome()
    assert outcome.result is not None, outcome.message
    spent = outcome.result["spent"]
    assert len(spent) == 5
    assert all(1000 <= each <= 1100 for each in spent.values())
    assert link.bank.used() == (0, sum(spent.values()))


def test_refusals_are_raised_by_their_kind(begin: Callable[..., Attempt], start: Start) -> None:
    link = FakeLink(budget_micros=1500)
    link.verdicts = [Denied("Not at night.", reasons=[{"message": "Not at night."}])]
    result = begin("jobs:order", GOOD_MANNERS, 10, 1000, 1000, link=link).outcome().result
    assert result is not None
    assert [code for code, _ in result["refused"]] == ["denied", "budget_exceeded"]
    assert result["placed"] == [["1", 1000]]


def test_a_halt_stops_the_job(begin: Callable[..., Attempt], link: FakeLink) -> None:
    link.verdicts = [Halted("Half of the profit is lost.")]
    outcome = begin("jobs:order", GOOD_MANNERS, 1000).outcome()
    assert outcome.cause is EndCause.BUDGET
    assert "Half of the profit is lost." in outcome.message


def test_what_a_job_reports_reaches_the_gate(begin: Callable[..., Attempt], link: FakeLink) -> None:
    begin("jobs:order", GOOD_MANNERS, 1, 1, 1).outcome()
    assert [(s.profit_micros, s.peak_profit_micros) for s in link.standings] == [(0, 0), (1, 1), (2, 2)]
    assert link.standings[-1].series == {"profit": (0.0, 1.0, 2.0)}


def test_at_the_end_of_a_job_its_orders_are_stopped_and_stay_held(
    begin: Callable[..., Attempt], link: FakeLink, tmp_path: Path
) -> None:
    slow = GOOD_MANNERS | {"lasts_s": 3600, "runs_on_s": 300}
    assert begin("jobs:order_and_leave", slow).outcome().cause is EndCause.SUCCESS
    (hold,) = link.bank.book.holds.values()
    assert hold.state is HoldState.PENDING
    uri = str(tmp_path / "storage" / "platforms" / "sandbox" / "job-7.json")
    platform = LastingSandbox.at(uri, seed=0, **slow)
    later = datetime.now(T0.tzinfo) + timedelta(minutes=6)
    (last,) = platform.reports(now=later)
    assert last.final
    assert last.cost_micros < 1000, "it was stopped"


def test_a_new_attempt_hears_of_the_orders_of_the_last(begin: Callable[..., Attempt], link: FakeLink) -> None:
    begin("jobs:order", GOOD_MANNERS, 1000).outcome()
    assert begin("jobs:hear", GOOD_MANNERS, number=2).outcome().result == {"heard": [["0", True]]}


def test_once_told_to_stop_a_job_places_nothing_new(begin: Callable[..., Attempt], link: FakeLink) -> None:
    link.directive = Directive(stop=EndCause.CANCELLED)
    outcome = begin("jobs:order_when_told", GOOD_MANNERS).outcome()
    assert outcome.result == {"refused": "The job was told to stop; it places no new orders."}
    assert link.bank.book.holds == {}


def test_a_job_of_real_money_needs_a_platform(start: Start) -> None:
    outcome = start("jobs:order", money=Money.REAL).outcome()
    assert outcome.cause is EndCause.MISCONFIGURED
    assert "needs `config` with its platform" in outcome.message


def test_the_word_that_an_adapter_fails_with_is_logged_once(
    begin: Callable[..., Attempt], link: FakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(SandboxPlatform):
        def reports(self, *, now: datetime) -> list[DeliveryReport]:
            raise ZeroDivisionError("no clicks")

    monkeypatch.setattr(registry, "make", lambda *_: Broken(1))
    attempt = begin("jobs:order", GOOD_MANNERS, 1000)
    eventually(lambda: "no clicks" in link.output)
    link.directive = Directive(stop=EndCause.CANCELLED)
    assert attempt.outcome().cause is EndCause.CANCELLED
    assert link.output.count("no clicks") == 1


class Clock:
    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> datetime:
        return self.now


def a_proposal(key: str = "0", **fields: Any) -> Proposal:
    return Proposal(key=key, **{"amount_micros": 6000} | fields)


def a_desk(link: FakeLink, platform: SandboxPlatform, clock: Clock) -> Desk:
    return Desk(link, platform, job_id=7, agent_id=3, now=clock)


def test_an_answer_that_was_lost_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(desk, "PAUSE_S", 0.0)
    link, clock = FakeLink(), Clock()
    platform = SandboxPlatform(3, Manners(outage_percent=90))
    counter = a_desk(link, platform, clock)
    for number in range(5):
        counter.place(a_proposal(f"{number}"), None)
    assert len(link.bank.book.holds) == 5
    assert platform.cost("job 7 order 4", now=T0) == 0


def test_a_platform_that_never_answers_lets_the_job_go_with_its_money_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Dead(SandboxPlatform):
        def place(self, order: Order, *, now: datetime) -> None:
            counter.abandon()  # the process that asked is gone meanwhile
            raise Unavailable

    link = FakeLink()
    counter = a_desk(link, Dead(3, Manners(outage_percent=100)), Clock())
    with pytest.raises(Unavailable):
        counter.place(a_proposal(), None)
    monkeypatch.setattr(desk, "CLOSING_S", 0.0)
    counter.close()
    assert link.bank.used() == (6000, 0)


def test_what_is_admitted_after_the_end_is_not_placed() -> None:
    link, platform = FakeLink(), SandboxPlatform(1, GOOD)
    counter = a_desk(link, platform, Clock())
    counter.close()
    with pytest.raises(Unavailable, match="attempt has ended"):
        counter.place(a_proposal(), None)
    assert platform.reports(now=T0) == []


def test_reports_in_the_wrong_order_change_nothing() -> None:
    class Mixed(SandboxPlatform):
        def reports(self, *, now: datetime) -> list[DeliveryReport]:
            return super().reports(now=now)[::-1]

    link, clock = FakeLink(), Clock()
    counter = a_desk(
        link, Mixed(1, Manners(max_delay=MINUTE, outage_percent=0, over_delivery_percent=0)), clock
    )
    counter.place(a_proposal(), None)
    heard = []
    for minute in range(70):
        clock.now = T0 + minute * MINUTE
        counter.poll()
        heard += counter.deliveries()
    costs = [each.spent_micros for each in heard]
    assert costs == sorted(costs)
    assert heard[-1].final
    assert counter.deliveries() == []
    assert link.bank.used() == (0, 6000)


@pytest.mark.parametrize("campaign", [5, None, "two\nlines", "a" * 121])
def test_a_campaign_is_a_short_text(campaign: Any) -> None:
    link = FakeLink()
    with pytest.raises(InvalidInput, match="`campaign` must be a text"):
        a_desk(link, SandboxPlatform(1, GOOD), Clock()).place(a_proposal(campaign=campaign), None)
    assert link.bank.book.holds == {}


def test_reports_of_other_jobs_are_left_alone() -> None:
    link, clock = FakeLink(), Clock()
    platform = SandboxPlatform(1, GOOD)
    of_another = Order(
        key="job 8 order 0", campaign="spring", currency="EUR", amount_micros=6000, bid_micros=10
    )
    platform.place(of_another, now=T0)
    counter = a_desk(link, platform, clock)
    counter.poll()
    assert (link.reports, counter.deliveries()) == ({}, [])


def test_an_order_that_the_job_stops_costs_what_it_has_cost() -> None:
    link, clock = FakeLink(), Clock()
    counter = a_desk(link, SandboxPlatform(1, GOOD), clock)
    counter.place(a_proposal(), None)
    clock.now = T0 + 10 * MINUTE
    counter.stop("0")
    clock.now = T0 + 15 * MINUTE
    counter.poll()
    assert link.bank.used() == (0, 1500)
    with pytest.raises(NotFound):
        counter.stop("1")


def test_a_sandbox_outlives_its_process(tmp_path: Path) -> None:
    options = {"seed": 3, "lasts_s": 3600, **GOOD_MANNERS}
    uri = str(tmp_path / "deep" / "job-7.json")
    order = Order(
        key="one", campaign="c", currency="EUR", amount_micros=6000, bid_micros=1, categories=("shoes",)
    )
    LastingSandbox.at(uri, **options).place(order, now=T0)
    first = LastingSandbox.at(uri, **options).reports(now=T0 + 15 * MINUTE)
    again = LastingSandbox.at(uri, **options)
    again.place(order, now=T0 + 20 * MINUTE)
    second = again.reports(now=T0 + 15 * MINUTE)
    assert [(r.number, r.cost_micros) for r in (*first, *second)] == [(1, 1500), (2, 1500)]
    assert again.memory()["deliveries"][0]["order"]["key"] == "one"


def test_a_sandbox_that_comes_back_behaves_as_if_it_had_stayed(tmp_path: Path) -> None:
    options = {"seed": 5, "lasts_s": 3600, "max_delay_s": 600}
    stayed = LastingSandbox.at(str(tmp_path / "a.json"), **options)
    uri = str(tmp_path / "b.json")

    def place(platform: LastingSandbox, key: str) -> str:
        try:
            order = Order(key=key, campaign="c", currency="EUR", amount_micros=6000, bid_micros=1)
            platform.place(order, now=T0)
        except Unavailable as error:
            return error.message
        return "taken"

    for number in range(20):
        came_back = LastingSandbox.at(uri, **options)
        assert place(stayed, f"{number}") == place(came_back, f"{number}")
    assert stayed.memory() == came_back.memory()


#: Options of a job's platform that make no sense, and words of what is said of them.
MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown platform": ({"name": "nowhere"}, "There is no platform 'nowhere'; known are sandbox."),
    "an unknown option": ({"name": "sandbox", "speed": 1}, "A sandbox has no 'speed'"),
    "a text": ({"name": "sandbox", "lasts_s": "1"}, "`platform.lasts_s` must be a number"),
    "a negative length": ({"name": "sandbox", "lasts_s": -1}, "`platform.lasts_s` must be a number"),
    "no length": ({"name": "sandbox", "lasts_s": 0}, "`platform.lasts_s` must be above 0"),
    "a fraction of a percent": ({"name": "sandbox", "outage_percent": 0.5}, "must be a number"),
    "no number": ({"name": "sandbox", "lasts_s": float("nan")}, "`platform.lasts_s` must be a number"),
    "too many percent": ({"name": "sandbox", "outage_percent": 101}, "percents from 0 to 100"),
    "no name": ({}, "needs `config` with its platform"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_platform_is_refused_for(tmp_path: Path, mistake: str) -> None:
    options, words = MISTAKES[mistake]
    with pytest.raises(InvalidInput) as refused:
        registry.make({"platform": options}, Site(1, 0, str(tmp_path)))
    assert words in refused.value.message


def test_an_adapter_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Installed:
        names = frozenset({"metro"})

        def __init__(self, *, group: str) -> None:
            assert group == "gaelp_ray.platforms"

        def select(self, *, name: str) -> list[Any]:
            return [self] if name in self.names else []

        def load(self) -> Any:
            return lambda options, site: (options, site.job_id)

    monkeypatch.setattr(registry, "entry_points", Installed)
    options = {"name": "metro", "account": "x", "margin_percent": 20}
    assert registry.make({"platform": options}, Site(4, 0, str(tmp_path))) == ({"account": "x"}, 4)
