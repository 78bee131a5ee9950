"""Budgets: read, limited, held and spent from."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from cli_service import Run, Service, problem

RECEIPT: dict[str, Any] = {
    "key": "order-17",
    "operation": "hold",
    "amount_micros": 2_500_000,
    "at": "2026-01-02T00:00:00Z",
    "hold_key": "order-17",
    "expires_at": "2026-01-02T00:05:00Z",
    "breached": False,
}
DAY: dict[str, Any] = {
    "period": "day",
    "limit_micros": 10_000_000,
    "pending_micros": 2_500_000,
    "posted_micros": 6_000_000,
    "remaining_micros": 1_500_000,
    "window_starts_at": "2026-01-02T00:00:00Z",
    "window_ends_at": "2026-01-03T00:00:00Z",
    "over": False,
    "breached_at": None,
    "projection": {"exhausted_at": "2026-01-02T18:00:00Z", "spent_at_end_micros": None},
}
TOTAL = DAY | {"period": "total", "limit_micros": None, "remaining_micros": None, "projection": None}
BUDGET: dict[str, Any] = {
    "id": 7,
    "scope": "team",
    "subject": "ads",
    "currency": "EUR",
    "money": "real",
    "timezone": "Europe/Berlin",
    "closes_at": None,
    "usages": [DAY, TOTAL],
}


def test_a_budget_is_shown_with_a_bar_for_each_window(gaelp: Run, service: Service) -> None:
    service.answers["GET /budgets/7"] = BUDGET

    day, total = gaelp("budgets", "show", "7").out.splitlines()[-2:]

    assert (day.count("█"), day.count("░")) == (20, 4)
    assert "85 %" in day
    assert "6 spent, 2.5 held, of 10" in day
    assert "gone at 2026-01-02" in day
    assert "█" not in total
    assert "of none" in total


BARS: dict[str, tuple[dict[str, Any], int, str]] = {
    "nothing used": ({"pending_micros": 0, "posted_micros": 0}, 0, "  0 %"),
    "a little": ({"pending_micros": 1, "posted_micros": 0}, 1, "  0 %"),
    "all of it": ({"pending_micros": 0, "posted_micros": 10_000_000}, 24, "100 %"),
    "more than all": ({"posted_micros": 90_000_000, "over": True}, 24, "over its limit"),
    "of a limit of nothing": ({"limit_micros": 0}, 24, "100 %"),
}


@pytest.mark.parametrize("case", BARS)
def test_a_bar_is_as_full_as_the_window(gaelp: Run, service: Service, case: str) -> None:
    fields, full, words = BARS[case]
    service.answers["GET /budgets/7"] = BUDGET | {"usages": [DAY | fields]}

    bar = gaelp("budgets", "show", "7").out.splitlines()[-1]

    assert bar.count("█") == full
    assert words in bar


def test_budgets_are_listed_by_window(gaelp: Run, service: Service) -> None:
    service.answers["GET /budgets"] = {"items": [BUDGET]}

    ran = gaelp("budgets", "list", "--scope", "team", "--money", "real")

    assert [line.split() for line in ran.out.splitlines() if " day " in line] == [
        ["7", "team", "ads", "real", "EUR", "day", "2.5", "6", "10"]
    ]
    assert dict(service.requests[0].url.params) == {"scope": "team", "money": "real", "limit": "50"}


def test_a_budget_is_opened_in_units_and_sent_in_micros(gaelp: Run, service: Service) -> None:
    service.answers["POST /budgets"] = BUDGET

    words = "budgets open team ads --money real --timezone Europe/Berlin --limit day=10.50 --limit total=none"
    assert "team ads" in gaelp(*words.split()).out

    assert service.sent("POST /budgets") == [
        {
            "scope": "team",
            "subject": "ads",
            "money": "real",
            "timezone": "Europe/Berlin",
            "limits_micros": {"day": 10_500_000, "total": None},
        }
    ]


@pytest.mark.parametrize(("amount", "micros"), [("0.000001", 1), ("none", None), ("0", 0)])
def test_a_limit_is_set(gaelp: Run, service: Service, amount: str, micros: int | None) -> None:
    service.answers["PUT /budgets/7/limits/day"] = DAY

    assert gaelp("budgets", "limit", "7", "day", amount).code == 0
    assert service.sent("PUT /budgets/7/limits/day") == [{"limit_micros": micros}]


def test_a_hold_is_made_posted_and_given_back(gaelp: Run, service: Service) -> None:
    service.answers["POST /budgets/7/holds"] = RECEIPT
    service.answers["POST /budgets/7/holds/order-17/post"] = RECEIPT | {"operation": "post", "key": "post x"}
    service.answers["POST /budgets/7/holds/order-17/void"] = RECEIPT | {"operation": "void"}
    service.answers["POST /budgets/7/holds/order-17/settle"] = RECEIPT | {"operation": "settle"}

    held = gaelp("budgets", "hold", "7", "2.50", "--key", "order-17", "--ttl", "300", "--margin", "0.1")
    posted = gaelp("budgets", "post", "7", "order-17", "1.9")
    gaelp("budgets", "post", "7", "order-17")
    gaelp("budgets", "void", "7", "order-17")
    gaelp("budgets", "settle", "7", "order-17", "3")

    assert [line.split() for line in held.out.splitlines()][:2] == [["hold", "2.5"], ["key", "order-17"]]
    assert posted.out.startswith("post")
    assert service.sent("POST /budgets/7/holds") == [
        {"key": "order-17", "amount_micros": 2_500_000, "ttl_seconds": 300.0, "margin_micros": 100_000}
    ]
    assert service.sent("POST /budgets/7/holds/order-17/post") == [{"amount_micros": 1_900_000}, {}]
    assert service.sent("POST /budgets/7/holds/order-17/settle") == [{"spent_micros": 3_000_000}]


def test_an_action_of_real_money_is_described_and_what_is_allowed_is_told(
    gaelp: Run, service: Service
) -> None:
    reasons = [{"code": "bid_cap", "message": "A bid of 3 is above 1.", "policy": "safe@1"}]
    clipped = {"verdict": "clip", "amount_micros": 2_000_000, "bid_micros": 1_000_000, "reasons": reasons}
    service.answers["POST /budgets/7/holds"] = RECEIPT | {"action": clipped}

    words = "budgets hold 7 2.5 --bid 3 --region DE --category sport --category news --campaign spring"
    told = gaelp(*words.split()).out

    [sent] = service.sent("POST /budgets/7/holds")
    assert sent["action"] == {"bid_micros": 3_000_000, "region": "DE", "categories": ["sport", "news"]}
    assert sent["campaign"] == "spring"
    assert "A bid of 3 is above 1." in told


def test_a_spend_is_recorded_and_a_breach_is_told(gaelp: Run, service: Service) -> None:
    service.answers["POST /budgets/7/spends"] = RECEIPT | {
        "operation": "spend",
        "breached": True,
        "hold_key": None,
    }

    ran = gaelp("budgets", "spend", "7", "2.5", "--key", "s", "--at", "2026-01-02T10:00:00Z")

    assert "past a limit" in ran.out
    [sent] = service.sent("POST /budgets/7/spends")
    assert sent["occurred_at"] == "2026-01-02T10:00:00+00:00"


def test_a_refusal_is_the_sentence_of_the_service(gaelp: Run, service: Service) -> None:
    service.answers["POST /budgets/7/holds"] = problem("budget_exceeded", "9 EUR are more than 1 left.", 402)

    ran = gaelp("budgets", "hold", "7", "9")

    assert (ran.code, ran.err) == (1, "9 EUR are more than 1 left.\n")


LINE = {
    "id": 1,
    "at": "2026-01-02T00:00:00Z",
    "operation": "post",
    "key": "post order-17 all",
    "hold_key": "order-17",
    "pending_micros": -2_500_000,
    "posted_micros": 2_000_000,
    "balance_pending_micros": 0,
    "balance_posted_micros": 2_000_000,
}


def test_a_statement_is_a_table_json_or_csv(gaelp: Run, service: Service) -> None:
    csv = "id,at\r\n1,2026-01-02\r\n"

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.params.get("format") == "csv":
            return httpx.Response(200, text=csv)
        return httpx.Response(200, json={"items": [LINE], "next_cursor": None})

    service.answers["GET /budgets/7/statement"] = answer

    assert "-2.5" in gaelp("budgets", "statement", "7", "--since", "2026-01-01").out
    assert gaelp("budgets", "statement", "7", "--json").json["items"][0]["balance_posted_micros"] == 2_000_000
    assert gaelp("budgets", "statement", "7", "--csv").out == csv


def test_holds_alerts_and_the_balance_are_shown(gaelp: Run, service: Service) -> None:
    held = {
        "key": "job 4 lease", "amount_micros": 1_000_000, "state": "pending", "job_id": 4,
        "at_expiry": "spend", "expires_at": "2026-01-02T00:05:00Z",
    }  # fmt: skip
    alert = {"id": 1, "account_id": 7, "percent": 80, "at": "2026-01-02T00:00:00Z", **TOTAL}
    service.answers["GET /budgets/7/holds"] = {"items": [held]}
    service.answers["GET /budgets/alerts"] = {"items": [alert]}
    service.answers["GET /budgets/7/alerts"] = {"items": []}
    balance = {"at": "2026-01-02T00:00:00Z", "pending_micros": 5, "posted_micros": 1_000_000}
    service.answers["GET /budgets/7/balance"] = balance

    assert "job 4 lease" in gaelp("budgets", "holds", "7").out
    assert " 80 " in gaelp("budgets", "alerts").out
    assert "No limit was neared." in gaelp("budgets", "alerts", "7").out
    assert "0.000005" in gaelp("budgets", "balance", "7").out


WRONG: dict[str, tuple[str, ...]] = {
    "an amount that is no number": ("budgets", "hold", "7", "much"),
    "a negative amount": ("budgets", "spend", "7", "--", "-1"),
    "NaN": ("budgets", "hold", "7", "nan"),
    "infinity": ("budgets", "hold", "7", "inf"),
    "too many decimals": ("budgets", "hold", "7", "0.0000001"),
    "too much": ("budgets", "limit", "7", "day", "1e30"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_amount_is_refused_before_anything_is_sent(gaelp: Run, service: Service, case: str) -> None:
    ran = gaelp(*WRONG[case])

    assert ran.code == 1
    assert "AMOUNT" in ran.err
    assert service.requests == []


@pytest.mark.parametrize("words", ["budgets open planet", "budgets open team a --limit year=1"], ids=str)
def test_what_is_no_scope_or_period_is_written_wrongly(gaelp: Run, service: Service, words: str) -> None:
    assert gaelp(*words.split()).code == 2
    assert service.requests == []


def test_members_of_a_campaign_are_added_listed_and_removed(gaelp: Run, service: Service) -> None:
    service.answers["PUT /budgets/7/members/ann"] = httpx.Response(204)
    service.answers["DELETE /budgets/7/members/ann"] = httpx.Response(204)
    service.answers["GET /budgets/7/members"] = {"items": [{"user": "ann", "by": "olga"}]}
    assert gaelp("budgets", "add-member", "7", "ann").out == "ann is a member of budget 7.\n"
    assert "olga" in gaelp("budgets", "members", "7").out
    said = "ann is no member of budget 7 any more.\n"
    assert gaelp("budgets", "remove-member", "7", "ann").out == said
