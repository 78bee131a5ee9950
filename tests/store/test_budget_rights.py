"""Who may open, limit, see and book on a budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.agents import Agent, AgentStatus, AgentType
from gaelp_ray.domain.approvals import Approval, NewApproval, Purpose
from gaelp_ray.domain.errors import Forbidden, GaelpError, InvalidInput, NotEligible, NotFound
from gaelp_ray.domain.ledger import Account, Money, NewAccount, Receipt, Scope
from gaelp_ray.domain.quotas import QuotaKind
from gaelp_ray.domain.roles import Role
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import agents, audit, budgets, members, promotions, roles
from gaelp_ray.services.budgets import Ask, Purse
from gaelp_ray.store.engine import Store
from tests import evidence
from tests.bank import Bank, a_hold, a_spend
from tests.builders import ADMIN, ANN, BOB, T0, World, an_agent

CAT = Principal("cat")
OPERATOR = Principal("olga")
DAY = timedelta(days=1)


class House(Bank):
    """Ann, whose team is ads, has an agent; Olga operates; Bob is a teammate and Cat is nobody."""

    agents_own: Account

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        world = World(store)
        world.quota("ann", team="ads")
        world.quota("bob", team="ads")
        world.quota("ads", kind=QuotaKind.TEAM)
        self.agent = self.register(AgentType.SIMULATION)
        store.transact(roles.grant, "olga", Role.OPERATOR, by=ADMIN, now=T0)

    def register(self, kind: AgentType) -> Agent:
        new = replace(an_agent(f"agent of {kind}"), type=kind)
        return self.store.transact(agents.register, new, currency="EUR", by=ANN, now=T0)

    def budget(
        self,
        scope: Scope,
        subject: str = "",
        *,
        by: Principal = ADMIN,
        money: Money = Money.SIMULATED,
        **limits: int | None,
    ) -> Account:
        new = NewAccount(scope, subject, "EUR", money)
        wanted = {Period(period): limit for period, limit in limits.items()}
        return self.store.transact(budgets.open_account, new, wanted, by=by, now=self.now)

    def raise_to(
        self, account: Account, limit: int | None, *, by: Principal, period: Period = Period.DAY
    ) -> Any:
        return self.store.transact(budgets.set_limit, account.id, period, limit, by=by, now=self.now)

    def purse(self, account: Account, by: Principal, campaign: str | None = None) -> Purse:
        return self.store.read(budgets.purse, Ask(account.id, by, campaign))

    def seen(self, by: Principal, **wanted: Any) -> list[int]:
        found = self.store.read(budgets.page, by=by, now=self.now, limit=99, **wanted)
        return [account.id for account, _ in found]

    def approve(
        self, account: Account, amount: int, *, currency: str = "EUR", period: Period = Period.DAY
    ) -> Approval:
        new = NewApproval(
            purpose=Purpose.LIMIT, subject=f"account {account.id}", amount_micros=amount, currency=currency,
            period=period, reason="spring", ttl=DAY,
        )  # fmt: skip
        return evidence.approved(self.store, new, now=self.now)


@pytest.fixture
def house(store: Store) -> House:
    return House(store)


#: Whose budget it is: who may book on it, and who may see it only.
RIGHTS: dict[str, tuple[Callable[[House], Account], set[str], set[str]]] = {
    "an agent's": (lambda h: h.budget(Scope.AGENT, str(h.agent.id)), {"ann", "olga", "root"}, set()),
    "a user's": (lambda h: h.budget(Scope.USER, "ann"), {"olga", "root"}, {"ann"}),
    "a team's": (lambda h: h.budget(Scope.TEAM, "ads"), {"olga", "root"}, {"ann", "bob"}),
    "a campaign's": (lambda h: h.budget(Scope.CAMPAIGN, "spring"), {"olga", "root"}, set()),
    "the global one": (lambda h: h.budget(Scope.GLOBAL), {"olga", "root"}, set()),
}


@pytest.mark.parametrize("case", RIGHTS)
def test_a_budget_is_for_its_owner_and_operators_and_seen_by_those_it_binds(house: House, case: str) -> None:
    make, spenders, readers = RIGHTS[case]
    account = make(house)

    for by in (ANN, BOB, CAT, OPERATOR, ADMIN):
        [found] = house.store.read(budgets.purses, [Ask(account.id, by)]).values()
        may_see = by.user in spenders | readers
        if by.user in spenders:
            assert isinstance(found, Purse), by
        else:
            assert isinstance(found, Forbidden if may_see else NotFound), by
        assert (account.id in house.seen(by)) is may_see, by
        if may_see:
            assert house.store.read(budgets.visible, account.id, by=by) == account
        else:
            with pytest.raises(NotFound):
                house.store.read(budgets.visible, account.id, by=by)


def test_a_purse_holds_the_whole_chain(house: House) -> None:
    everything = house.budget(Scope.GLOBAL)
    campaign = house.budget(Scope.CAMPAIGN, "spring")
    team = house.budget(Scope.TEAM, "ads")
    user = house.budget(Scope.USER, "ann")
    agent = house.budget(Scope.AGENT, str(house.agent.id))

    assert set(house.purse(agent, ANN).account_ids) == {a.id for a in (everything, team, user, agent)}
    assert campaign.id in house.purse(agent, OPERATOR, "spring").account_ids
    assert set(house.purse(agent, ANN).own_ids) == {user.id, agent.id}
    assert set(house.purse(user, OPERATOR).account_ids) == {a.id for a in (everything, team, user)}


def test_each_asks_for_himself(house: House) -> None:
    account = house.budget(Scope.AGENT, str(house.agent.id))
    asked = [Ask(account.id, ANN), Ask(account.id, CAT), Ask(account.id + 99, ANN)]

    found = house.store.read(budgets.purses, asked)

    assert [type(found[ask]) for ask in asked] == [Purse, NotFound, NotFound]


def test_an_owner_opens_budgets_of_simulated_money_for_his_agents_only(house: House) -> None:
    mine = str(house.agent.id)

    assert house.budget(Scope.AGENT, mine, by=ANN, day=5).subject == mine
    for scope, subject, money, by in (
        (Scope.AGENT, mine, Money.SIMULATED, BOB),
        (Scope.AGENT, mine, Money.REAL, ANN),
        (Scope.USER, "ann", Money.SIMULATED, ANN),
        (Scope.TEAM, "ads", Money.REAL, ANN),
        (Scope.GLOBAL, "", Money.REAL, ANN),
        (Scope.AGENT, "x", Money.SIMULATED, ANN),
    ):
        with pytest.raises(Forbidden, match="operator"):
            house.budget(scope, subject, money=money, by=by)
    assert house.budget(Scope.TEAM, "ads", money=Money.REAL, by=OPERATOR).money is Money.REAL


def test_opening_again_limits_anew_and_never_past_what_the_caller_may(house: House) -> None:
    first = house.budget(Scope.TEAM, "ads", money=Money.REAL, day=5)

    again = house.budget(Scope.TEAM, "ads", money=Money.REAL, by=OPERATOR, day=4)

    assert again == first
    assert house.usage(first.id, Period.DAY).limit_micros == 4
    with pytest.raises(NotEligible):
        house.budget(Scope.TEAM, "ads", money=Money.REAL, by=OPERATOR, day=6)


def test_an_owner_moves_the_limits_of_play_money_as_he_likes(house: House) -> None:
    account = house.budget(Scope.AGENT, str(house.agent.id), by=ANN, day=5)

    for limit in (50, 1, None, 7):
        assert house.raise_to(account, limit, by=ANN).limit_micros == limit
    with pytest.raises(NotFound):
        house.raise_to(account, 9, by=CAT)


@pytest.mark.parametrize("by", [ANN, OPERATOR], ids=lambda by: by.user)
def test_raising_a_limit_of_real_money_uses_up_an_approval(house: House, by: Principal) -> None:
    agent = house.register(AgentType.REAL_DEPLOYMENT)
    account = house.budget(Scope.AGENT, str(agent.id), money=Money.REAL, day=100)

    assert house.raise_to(account, 60, by=by).limit_micros == 60, "lower is always allowed"
    assert house.raise_to(account, 60, by=by).limit_micros == 60
    with pytest.raises(NotEligible, match="approval"):
        house.raise_to(account, 61, by=by)
    house.approve(account, 80, currency="USD")
    house.approve(account, 79)
    with pytest.raises(NotEligible):
        house.raise_to(account, 80, by=by)
    house.approve(account, 80)
    assert house.raise_to(account, 80, by=by).limit_micros == 80
    with pytest.raises(NotEligible):
        house.raise_to(account, 81, by=by)
    with pytest.raises(Forbidden, match="admin"):
        house.raise_to(account, None, by=by)
    assert house.usage(account.id, Period.DAY).limit_micros == 80


def test_an_admin_needs_no_approval_and_a_first_limit_none(house: House) -> None:
    account = house.budget(Scope.TEAM, "ads", money=Money.REAL)

    assert house.raise_to(account, 5, by=OPERATOR).limit_micros == 5
    assert house.raise_to(account, 50, by=ADMIN).limit_micros == 50
    assert house.raise_to(account, None, by=ADMIN).limit_micros is None


def test_whoever_limits_is_recorded_with_the_request(house: House) -> None:
    account = house.budget(Scope.TEAM, "ads")

    house.raise_to(account, 5, by=replace(OPERATOR, request_id="trace-7"))

    [*_, last] = house.store.read(audit.page, by=ADMIN, subject=f"account {account.id}", limit=9)
    assert (last.record.action, last.record.actor, last.record.request_id) == ("limit.set", "olga", "trace-7")


def test_budgets_are_listed_with_what_is_used_of_them(house: House) -> None:
    first = house.budget(Scope.TEAM, "ads", day=50)
    second = house.budget(Scope.CAMPAIGN, "spring", money=Money.REAL)
    house.ask(a_hold("h", first.id, amount=7))

    page = house.store.read(budgets.page, by=ADMIN, now=house.now, scope=Scope.TEAM, limit=9)

    assert [(a.id, [(str(u.period), u.pending_micros) for u in used]) for a, used in page] == [
        (first.id, [("day", 7), ("total", 7)])
    ]
    assert house.seen(OPERATOR, money=Money.REAL, subject="spring") == [second.id]
    assert house.seen(OPERATOR, after=second.id) == []


def test_alerts_of_all_budgets_are_for_operators(house: House) -> None:
    account = house.budget(Scope.TEAM, "ads", total=10)
    house.ask(a_hold("h", account.id, amount=9))

    def all_told(by: Principal) -> list[int]:
        return [alert.percent for _, alert in house.store.read(budgets.all_alerts, by=by, limit=9)]

    def told(by: Principal) -> list[int]:
        found = house.store.read(budgets.alerts, account.id, by=by, limit=9)
        return [alert.percent for _, alert in found]

    assert all_told(OPERATOR) == told(BOB) == [50, 80]
    with pytest.raises(Forbidden):
        all_told(BOB)
    with pytest.raises(NotFound):
        told(CAT)


def promoted(house: House, agent: Agent) -> None:
    version = agent.current.id
    evidence.record(house.store, agent.id, version, now=house.now)
    new = NewApproval(purpose=Purpose.PROMOTION, subject=f"version {version}", reason="better", ttl=DAY)
    evidence.approved(house.store, new, now=house.now)
    house.store.transact(promotions.promote, version, by=ANN, now=house.now)


def test_only_an_active_real_deployment_with_a_promoted_version_spends_real_money(house: House) -> None:
    agent = house.register(AgentType.REAL_DEPLOYMENT)
    account = house.budget(Scope.AGENT, str(agent.id), money=Money.REAL)
    assert house.purse(account, ANN).gated
    with pytest.raises(NotEligible, match="not promoted"):
        house.store.read(budgets.require_eligible, account, "h")

    promoted(house, agent)
    house.store.read(budgets.require_eligible, account, "h")

    house.store.transact(agents.change, agent.id, by=ANN, now=house.now, status=AgentStatus.PAUSED)
    with pytest.raises(NotEligible, match="paused"):
        house.store.read(budgets.require_eligible, account, "h")


def test_an_agent_of_another_type_spends_no_real_money(house: House) -> None:
    agent = house.register(AgentType.RESEARCH)
    account = house.budget(Scope.AGENT, str(agent.id), money=Money.REAL)
    with pytest.raises(NotEligible, match="real deployment"):
        house.store.read(budgets.require_eligible, account, "h")
    assert not house.purse(house.budget(Scope.AGENT, str(agent.id)), ANN).gated


def test_what_was_refused_to_one_changes_nothing(house: House) -> None:
    account = house.budget(Scope.TEAM, "ads", money=Money.REAL, day=5)
    refusals: list[type[GaelpError]] = []
    for by, limit in ((BOB, 4), (CAT, 4), (OPERATOR, 6)):
        with pytest.raises(GaelpError) as raised:
            house.raise_to(account, limit, by=by)
        refusals.append(type(raised.value))
    assert refusals == [Forbidden, NotFound, NotEligible]
    assert house.usage(account.id, Period.DAY).limit_micros == 5
    assert isinstance(house.ask(a_hold("h", account.id, amount=5)), Receipt)


def test_a_campaign_is_charged_by_its_members_and_operators_only(house: House) -> None:
    spring = house.budget(Scope.CAMPAIGN, "spring")
    agent = house.budget(Scope.AGENT, str(house.agent.id))

    def charges(by: Principal, campaign: str | None = "spring") -> bool:
        [found] = house.store.read(budgets.purses, [Ask(agent.id, by, campaign)]).values()
        if isinstance(found, Purse):
            assert (spring.id in found.account_ids) is (campaign == "spring")
            return True
        assert isinstance(found, Forbidden)
        assert "no member of campaign 'spring'" in found.message
        return False

    given: dict[str, Any] = {"by": OPERATOR, "now": house.now}
    assert [charges(by) for by in (ANN, OPERATOR, ADMIN)] == [False, True, True]
    assert charges(ANN, None)
    assert charges(ANN, "autumn"), "there is no budget to charge"
    house.store.transact(members.add, spring.id, "ann", **given)
    house.store.transact(members.add, spring.id, "ann", **given)
    assert charges(ANN)
    [member] = house.store.read(members.of_account, spring.id, by=OPERATOR)
    assert (member.user, member.by) == ("ann", "olga")
    house.store.transact(members.remove, spring.id, "ann", **given)
    assert not charges(ANN)
    found = house.store.read(audit.page, by=ADMIN, subject=f"account {spring.id}", limit=9)
    moves = [each.record.action for each in found]
    assert moves == ["account.open", "member.add", "member.remove"]


def test_members_are_for_campaigns_and_added_by_operators(house: House) -> None:
    spring, team = house.budget(Scope.CAMPAIGN, "spring"), house.budget(Scope.TEAM, "ads")
    for use_case in (members.add, members.remove):
        with pytest.raises(Forbidden):
            house.store.transact(use_case, spring.id, "ann", by=ANN, now=house.now)
        with pytest.raises(InvalidInput, match="only campaigns"):
            house.store.transact(use_case, team.id, "ann", by=OPERATOR, now=house.now)
        with pytest.raises(NotFound):
            house.store.transact(use_case, 999, "ann", by=OPERATOR, now=house.now)
    with pytest.raises(InvalidInput, match="user"):
        house.store.transact(members.add, spring.id, "a\nb", by=OPERATOR, now=house.now)
    with pytest.raises(Forbidden):
        house.store.read(members.of_account, spring.id, by=ANN)


def test_a_spend_without_a_hold_is_an_operators_or_counts_for_its_owner_only(house: House) -> None:
    everything, team = house.budget(Scope.GLOBAL), house.budget(Scope.TEAM, "ads")
    user, own = house.budget(Scope.USER, "ann"), house.budget(Scope.AGENT, str(house.agent.id))
    real = house.budget(Scope.AGENT, str(house.register(AgentType.REAL_DEPLOYMENT).id), money=Money.REAL)

    assert set(house.purse(own, ANN).charged_ids) == {user.id, own.id}
    assert set(house.purse(own, OPERATOR).charged_ids) == {a.id for a in (everything, team, user, own)}
    with pytest.raises(Forbidden, match="operator or by a report"):
        _ = house.purse(real, ANN).charged_ids
    assert real.id in house.purse(real, OPERATOR).charged_ids


#: What changes which accounts bind an agent's spending.
CHANGES: dict[str, Callable[[House], object]] = {
    "a team budget is opened": lambda h: h.budget(Scope.TEAM, "ads", total=1),
    "a budget of the owner is opened": lambda h: h.budget(Scope.USER, "ann", total=1),
    "the global budget is opened": lambda h: h.budget(Scope.GLOBAL, total=1),
    "the campaign gets a budget": lambda h: h.budget(Scope.CAMPAIGN, "spring", total=1),
    "its limit is lowered": lambda h: h.raise_to(h.agents_own, 1, by=ANN),
}


@pytest.mark.parametrize("case", CHANGES)
def test_the_same_again_gets_the_first_answer_whatever_binds_it_since(house: House, case: str) -> None:
    house.agents_own = account = house.budget(Scope.AGENT, str(house.agent.id))

    def ask(key: str) -> list[object]:
        purse = house.purse(account, OPERATOR, "spring")
        given = {"named": purse.named, "amount": 9}
        return [
            house.ask(a_hold(f"{key} hold", *purse.account_ids, **given)),
            house.ask(replace(a_spend(f"{key} spend", *purse.account_ids, amount=9), named=purse.named)),
        ]

    first = ask("one")
    assert all(isinstance(answer, Receipt) for answer in first)
    before = house.used(account.id)
    CHANGES[case](house)
    assert ask("one") == first
    assert house.used(account.id) == before, "nothing is booked twice"
    assert house.differences() == []


def test_a_user_who_moved_to_another_team_gets_the_first_answer(house: House) -> None:
    account = house.budget(Scope.AGENT, str(house.agent.id))
    house.budget(Scope.TEAM, "ads")
    house.budget(Scope.TEAM, "search")
    first = house.purse(account, ANN)
    asked = a_hold("h", *first.account_ids, named=first.named)
    receipt = house.ask(asked)
    World(house.store).quota("ann", team="search")
    then = house.purse(account, ANN)
    assert then.account_ids != first.account_ids
    assert house.ask(replace(asked, account_ids=then.account_ids)) == receipt
