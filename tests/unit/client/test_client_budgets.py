"""Budgets, as they are asked for and read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from client_network import Connect, Recorder

from gaelp_ray.domain.errors import BudgetExceeded, Denied

AT = datetime(2026, 1, 2, tzinfo=UTC)
RECEIPT: dict[str, Any] = {
    "key": "order-17",
    "operation": "hold",
    "amount_micros": 2_500_000,
    "at": AT.isoformat(),
    "hold_key": "order-17",
    "expires_at": None,
    "breached": False,
}
USAGE: dict[str, Any] = {
    "period": "day",
    "limit_micros": 5_000_000,
    "pending_micros": 2_500_000,
    "posted_micros": 0,
    "remaining_micros": 2_500_000,
    "window_starts_at": AT.isoformat(),
    "window_ends_at": None,
    "over": False,
    "breached_at": None,
    "projection": {"exhausted_at": AT.isoformat(), "spent_at_end_micros": 7},
}
BUDGET: dict[str, Any] = {
    "id": 7,
    "scope": "team",
    "subject": "ads",
    "currency": "EUR",
    "money": "real",
    "timezone": "UTC",
    "closes_at": None,
    "usages": [USAGE],
}


def test_a_budget_is_opened_with_its_limits(connect: Connect) -> None:
    service = Recorder(BUDGET, 201)

    budget = connect(service).budgets.open(
        "team", "ads", money="real", closes_at=AT, limits_micros={"day": 5_000_000, "total": None}
    )

    assert service.last == (
        "POST",
        "/api/v1/budgets",
        {
            "scope": "team",
            "subject": "ads",
            "money": "real",
            "closes_at": "2026-01-02T00:00:00+00:00",
            "limits_micros": {"day": 5_000_000, "total": None},
        },
    )
    [usage] = budget.usages
    assert (usage.limit_micros, usage.remaining_micros, usage.window_starts_at) == (5_000_000, 2_500_000, AT)
    assert usage.projection is not None
    assert usage.projection.exhausted_at == AT


def test_budgets_are_listed_by_pages(connect: Connect) -> None:
    service = Recorder({"items": [BUDGET], "next_cursor": None})
    budgets = connect(service).budgets

    assert [budget.id for budget in budgets.iterate(scope="team")] == [7]
    assert service.last[:2] == ("GET", "/api/v1/budgets?scope=team&limit=1000")


def test_a_limit_is_lifted_by_saying_so(connect: Connect) -> None:
    service = Recorder(USAGE)

    connect(service).budgets.limit(7, "day", None)

    assert service.last == ("PUT", "/api/v1/budgets/7/limits/day", {"limit_micros": None})


def test_a_hold_is_sent_with_a_key_and_only_what_was_said(connect: Connect) -> None:
    service = Recorder(RECEIPT, 201)

    receipt = connect(service).budgets.hold(7, 2_500_000, key="order-17", ttl_seconds=300)

    body = {"key": "order-17", "amount_micros": 2_500_000, "ttl_seconds": 300}
    assert service.last == ("POST", "/api/v1/budgets/7/holds", body)
    assert (receipt.hold_key, receipt.amount_micros, receipt.action) == ("order-17", 2_500_000, None)


def test_what_may_be_done_instead_is_read(connect: Connect) -> None:
    clipped = {
        "verdict": "clip",
        "amount_micros": 5,
        "bid_micros": 1,
        "reasons": [{"code": "bid_cap", "message": "Too high.", "policy": "safe@1"}],
    }

    receipt = connect(Recorder(RECEIPT | {"action": clipped}, 201)).budgets.hold(
        7, 9, action={"bid_micros": 3}
    )

    assert receipt.action is not None
    assert (receipt.action.verdict, receipt.action.bid_micros) == ("clip", 1)
    assert receipt.action.reasons[0].code == "bid_cap"


def test_an_action_that_is_denied_says_why(connect: Connect) -> None:
    reasons = [{"code": "regions", "message": "Not there.", "policy": "safe@1"}]
    answer = {"code": "denied", "detail": "Not there.", "status": 403, "reasons": reasons}

    with pytest.raises(Denied) as raised:
        connect(Recorder(answer, 403)).budgets.hold(7, 9)

    assert raised.value.details["reasons"] == reasons


@pytest.mark.usefixtures("pauses")
def test_a_booking_whose_answer_was_lost_is_sent_again_with_the_same_key(connect: Connect) -> None:
    sent: list[bytes] = []

    def flaky(request: httpx.Request) -> httpx.Response:
        sent.append(request.content)
        if len(sent) == 1:
            raise httpx.ReadError("cut")
        return httpx.Response(201, json=RECEIPT)

    connect(flaky).budgets.spend(7, 5)

    assert len(sent) == 2
    assert sent[0] == sent[1]
    assert b'"key"' in sent[0]


RESOLVING: dict[str, tuple[Any, str, Any]] = {
    "post": (lambda b: b.post(7, "a/b c", 4), "/holds/a%2Fb%20c/post", {"amount_micros": 4}),
    "post of all": (lambda b: b.post(7, "k"), "/holds/k/post", {}),
    "void": (lambda b: b.void(7, "k"), "/holds/k/void", {}),
    "settle": (lambda b: b.settle(7, "k", 0), "/holds/k/settle", {"spent_micros": 0}),
    "correction": (
        lambda b: b.correct(7, -3, counted_at=AT, reason="typo", key="c"),
        "/corrections",
        {"key": "c", "delta_micros": -3, "counted_at": AT.isoformat(), "reason": "typo"},
    ),
    "spend": (
        lambda b: b.spend(7, 3, key="s", occurred_at=AT, campaign="spring"),
        "/spends",
        {"key": "s", "amount_micros": 3, "occurred_at": AT.isoformat(), "campaign": "spring"},
    ),
}


@pytest.mark.parametrize("case", RESOLVING)
def test_a_booking_goes_to_its_address(connect: Connect, case: str) -> None:
    ask, path, body = RESOLVING[case]
    service = Recorder(RECEIPT)

    ask(connect(service).budgets)

    assert service.last == ("POST", f"/api/v1/budgets/7{path}", body)


def test_a_renewal_has_two_receipts(connect: Connect) -> None:
    service = Recorder({"settled": RECEIPT | {"operation": "settle"}, "hold": RECEIPT}, 201)

    renewal = connect(service).budgets.renew(7, "k", 4, 5, next_key="k2")

    assert service.last == (
        "POST",
        "/api/v1/budgets/7/holds/k/renew",
        {"key": "k2", "spent_micros": 4, "amount_micros": 5},
    )
    assert (renewal.settled.operation, renewal.hold.operation) == ("settle", "hold")


def test_each_operation_of_a_batch_has_its_own_answer(connect: Connect) -> None:
    problem = {"code": "budget_exceeded", "detail": "Too much.", "status": 402, "limit_micros": 5}
    answer = {
        "items": [
            {"status": 201, "receipt": RECEIPT, "problem": None},
            {"status": 402, "receipt": None, "problem": problem},
        ]
    }

    held, refused = connect(Recorder(answer)).budgets.operations(7, [{"operation": "hold"}] * 2)

    assert held == connect(Recorder(RECEIPT)).budgets.void(7, "k")
    assert isinstance(refused, BudgetExceeded)
    assert refused.details == {"limit_micros": 5}


LINE = {"id": 1, "at": AT.isoformat(), "operation": "hold", "key": "k", "pending_micros": 5}


def test_a_statement_is_read_by_lines_or_as_text(connect: Connect) -> None:
    service = Recorder({"items": [LINE], "next_cursor": "9.1"})

    page = connect(service).budgets.statement(7, since=AT)

    assert (page.items[0].pending_micros, page.next_cursor) == (5, "9.1")
    since = "since=2026-01-02T00%3A00%3A00%2B00%3A00"
    assert service.last[1] == f"/api/v1/budgets/7/statement?{since}&limit=100"

    csv = connect(lambda _: httpx.Response(200, text="id,at\r\n1,now\r\n")).budgets.export(7)
    assert "".join(csv) == "id,at\r\n1,now\r\n"


READS: dict[str, tuple[Any, str, Any]] = {
    "holds": (lambda b: b.holds(7), "/budgets/7/holds?limit=100", {"items": []}),
    "a hold": (
        lambda b: b.get_hold(7, "k"),
        "/budgets/7/holds/k",
        {"key": "k", "amount_micros": 1, "state": "pending"},
    ),
    "alerts of one": (lambda b: b.alerts(7), "/budgets/7/alerts?limit=100", {"items": []}),
    "alerts of all": (lambda b: b.alerts(), "/budgets/alerts?limit=100", {"items": []}),
    "a balance": (
        lambda b: b.balance(7),
        "/budgets/7/balance",
        {"at": AT.isoformat(), "pending_micros": 1, "posted_micros": 2},
    ),
    "a budget": (lambda b: b.get(7), "/budgets/7", BUDGET),
}


@pytest.mark.parametrize("case", READS)
def test_it_reads(connect: Connect, case: str) -> None:
    ask, path, answer = READS[case]
    service = Recorder(answer)

    ask(connect(service).budgets)

    assert service.last[:2] == ("GET", f"/api/v1{path}")
