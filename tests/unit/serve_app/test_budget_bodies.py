"""What bodies about budgets mean, what they are refused for, and how keys are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from gaelp_ray.domain import cursors
from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.budgets import Projection, Usage
from gaelp_ray.domain.errors import InvalidInput, NotFound
from gaelp_ray.domain.ledger import AtExpiry, Hold, Money, NewAccount, Scope, Spend
from gaelp_ray.domain.windows import ALWAYS, Period, Window
from gaelp_ray.services.budgets import Purse
from gaelp_ray.services.reviews import Reported
from gaelp_ray.store.positions import Position
from serve_app import keys
from serve_app.paging import Pages
from serve_app.schemas.booking import (
    CorrectionIn,
    HoldIn,
    OperationsIn,
    PostIn,
    RenewIn,
    ReportedIn,
    SpendIn,
    refuse_action,
)
from serve_app.schemas.budgets import BudgetIn, LimitIn, UsageOut
from tests.bank import an_account
from tests.builders import T0

ANN = Principal("ann")
PURSE = Purse(an_account(7), (3, 7), operates=True)
NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)


def test_a_budget_is_opened_in_the_currency_of_the_service_unless_it_says_another() -> None:
    body = {"scope": "team", "subject": "ads", "money": "real", "limits_micros": {"day": 5, "total": None}}

    opened = BudgetIn.model_validate(body)

    assert opened.new("EUR") == NewAccount(Scope.TEAM, "ads", "EUR", Money.REAL)
    assert opened.limits_micros == {Period.DAY: 5, Period.TOTAL: None}
    assert BudgetIn.model_validate(body | {"currency": "USD"}).new("EUR").currency == "USD"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"currency": "euro"}, "currency"),
        ({"timezone": "Europe/Atlantis"}, "timezone"),
        ({"subject": ""}, "subject"),
        ({"scope": "global"}, "subject"),
        ({"closes_at": "9999-01-01T00:00:00Z"}, "closes_at"),
    ],
    ids=str,
)
def test_a_budget_is_refused_with(fields: dict[str, Any], words: str) -> None:
    body = {"scope": "team", "subject": "ads", "money": "real"} | fields
    with pytest.raises((InvalidInput, ValidationError), match=words):
        BudgetIn.model_validate(body).new("EUR")


def test_a_hold_spans_the_whole_chain_for_a_minute_unless_it_says_otherwise() -> None:
    plain = HoldIn.model_validate({"key": "k", "amount_micros": 5}).hold("user ann k", PURSE)
    full = HoldIn.model_validate(
        {"key": "k", "amount_micros": 5, "ttl_seconds": 0.5, "margin_micros": 1, "at_expiry": "spend"}
    ).hold("user ann k", PURSE)

    assert plain == Hold(
        key="user ann k", account_ids=(3, 7), currency="EUR", amount_micros=5, ttl=timedelta(minutes=1)
    )
    assert (full.ttl, full.held_micros, full.at_expiry) == (timedelta(seconds=0.5), 6, AtExpiry.SPEND)


def test_what_a_host_reports_is_taken_as_it_is() -> None:
    body = {"profit_micros": -5, "peak_profit_micros": 3, "series": {"ctr": [0.1, 2]}}

    assert ReportedIn.model_validate(body).facts() == Reported(-5, 3, {"ctr": (0.1, 2.0)})


def test_an_action_without_a_reviewer_is_refused() -> None:
    refuse_action(HoldIn.model_validate({"key": "k", "amount_micros": 5}))
    for field in ({"action": {}}, {"reported": {}}):
        with pytest.raises(InvalidInput, match="real money of an agent"):
            refuse_action(HoldIn.model_validate({"key": "k", "amount_micros": 5} | field))


def test_a_spend_may_have_happened_before() -> None:
    body = {"key": "s", "amount_micros": 5, "occurred_at": "2025-03-01T13:00:00+01:00"}

    assert SpendIn.model_validate(body).spend("user ann s", PURSE) == Spend(
        key="user ann s", account_ids=(3, 7), currency="EUR", amount_micros=5, occurred_at=NOON
    )


def test_a_correction_may_give_back() -> None:
    body = {"key": "c", "delta_micros": -5, "counted_at": "2025-03-01T12:00:00Z", "reason": "typo"}

    correction = CorrectionIn.model_validate(body).correction("user root c", PURSE)

    assert (correction.delta_micros, correction.counted_at, correction.reason) == (-5, NOON, "typo")


HOLD = {"key": "k", "amount_micros": 5}
#: name: (schema, fields that are wrong, field that is named)
REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "a float": (HoldIn, HOLD | {"amount_micros": 5.0}, "amount_micros"),
    "a text": (HoldIn, HOLD | {"amount_micros": "5"}, "amount_micros"),
    "a yes": (HoldIn, HOLD | {"amount_micros": True}, "amount_micros"),
    "NaN": (HoldIn, HOLD | {"amount_micros": float("nan")}, "amount_micros"),
    "infinity": (SpendIn, HOLD | {"amount_micros": float("inf")}, "amount_micros"),
    "10**30": (HoldIn, HOLD | {"amount_micros": 10**30}, "amount_micros"),
    "nothing": (PostIn, {"amount_micros": 0.5}, "amount_micros"),
    "a limit that is a float": (LimitIn, {"limit_micros": 1e6}, "limit_micros"),
    "no limit said": (LimitIn, {}, "limit_micros"),
    "no time": (HoldIn, HOLD | {"ttl_seconds": 0}, "ttl_seconds"),
    "time without end": (HoldIn, HOLD | {"ttl_seconds": float("inf")}, "ttl_seconds"),
    "a margin that is a float": (RenewIn, HOLD | {"spent_micros": 1, "margin_micros": 0.1}, "margin_micros"),
    "a time without a zone": (SpendIn, HOLD | {"occurred_at": "2025-03-01T12:00:00"}, "occurred_at"),
    "a currency amount": (HoldIn, {"key": "k", "amount": 5}, "amount_micros"),
    "a bid that is a float": (HoldIn, HOLD | {"action": {"bid_micros": 0.4}}, "action.bid_micros"),
    "a campaign with NUL": (HoldIn, HOLD | {"campaign": "a\x00b"}, "campaign"),
    "a campaign of half a character": (SpendIn, HOLD | {"campaign": "\ud800"}, "campaign"),
    "a reported NaN": (HoldIn, HOLD | {"reported": {"series": {"a": [float("nan")]}}}, "reported.series.a.0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_body_is_refused_and_its_field_named_with(case: str) -> None:
    schema, body, field = REFUSED[case]
    with pytest.raises(ValidationError) as raised:
        schema.model_validate(body)
    assert field in [".".join(map(str, each["loc"])) for each in raised.value.errors()]


@pytest.mark.parametrize("amount", [0, -1, -(2**63 - 1)])
def test_an_amount_that_is_none_is_refused_by_the_ledger(amount: int) -> None:
    with pytest.raises(InvalidInput, match="amount_micros"):
        HoldIn.model_validate(HOLD | {"amount_micros": amount}).hold("user ann k", PURSE)


def test_a_batch_names_the_operation_that_is_wrong() -> None:
    operations = [{"operation": "void", "hold_key": "k"}, {"operation": "hold", "key": "k"}]
    with pytest.raises(ValidationError) as raised:
        OperationsIn.model_validate({"operations": operations})
    assert raised.value.errors()[0]["loc"] == ("operations", 1, "hold", "amount_micros")


@pytest.mark.parametrize("count", [0, 257])
def test_a_batch_has_one_to_256_operations(count: int) -> None:
    with pytest.raises(ValidationError, match="operations"):
        OperationsIn.model_validate({"operations": [{"operation": "void", "hold_key": "k"}] * count})


def test_every_example_of_the_reference_is_accepted() -> None:
    for schema in (BudgetIn, HoldIn, LimitIn, OperationsIn, PostIn, RenewIn, SpendIn):
        for example in schema.model_json_schema()["examples"]:
            TypeAdapter(schema).validate_python(example)


def test_a_window_without_an_end_has_no_bounds() -> None:
    day = Window(T0, T0 + timedelta(days=1))
    shown = UsageOut.of(Usage(7, Period.DAY, day, 10, 4, 8), Projection(T0, None))

    assert (shown.remaining_micros, shown.over, shown.window_ends_at) == (0, True, day.ends_at)
    assert shown.projection is not None
    assert shown.projection.exhausted_at == T0
    endless = UsageOut.of(Usage(7, Period.TOTAL, ALWAYS, None))
    assert (endless.window_starts_at, endless.window_ends_at, endless.remaining_micros) == (None, None, None)


def test_a_callers_key_is_his_alone_and_shown_to_him_as_he_wrote_it() -> None:
    written = keys.stored(ANN, "order 17")

    assert written == "user ann order 17"
    assert keys.shown(ANN, written) == "order 17"
    assert keys.shown(Principal("bob"), written) == "user ann order 17"
    assert keys.meant(ANN, "order 17") == (written, "order 17")


@pytest.mark.parametrize("key", ["a\x00b", "\ud800", "a\nb"], ids=ascii)
def test_what_can_be_no_key_is_not_looked_for(key: str) -> None:
    with pytest.raises(NotFound):
        keys.meant(ANN, key)


def test_no_name_reads_like_another_name_and_a_key() -> None:
    assert keys.stored(Principal("ann b"), "c") != keys.stored(ANN, "b c")
    assert keys.stored(Principal("ann%20b"), "c") != keys.stored(Principal("ann b"), "c")


def test_a_key_leaves_room_for_what_resolves_its_hold() -> None:
    longest = "k" * (200 - len("user ann ") - len(f"settle  {2**63 - 1}"))

    held = keys.stored(ANN, longest)

    assert len(keys.resolving("settle", held, 2**63 - 1)) == 200
    for key in ("", longest + "k"):
        with pytest.raises(InvalidInput, match="`key`"):
            keys.stored(ANN, key)


def test_what_resolves_a_hold_is_the_same_operation_when_it_says_the_same() -> None:
    assert keys.resolving("post", "user ann k", 5) == keys.resolving("post", "user ann k", 5)
    assert keys.resolving("post", "user ann k", 5) != keys.resolving("post", "user ann k", 6)
    assert keys.resolving("post", "user ann k") == "post user ann k all"


LINES = Pages("lines")


def test_the_next_page_begins_at_the_place_of_the_last_row() -> None:
    last = Position(7, 9)
    assert LINES.after_position(cursors.write("lines", last.text)) == last
    assert LINES.after_position(None) is None
    assert LINES.after_position(cursors.write("lines", "0.9")) == Position(0, 9), "of before"


@pytest.mark.parametrize(
    "place",
    ["x", "1.x", ".1", "1.", "-1.1", "1.1.1", "\u00b2", f"{2**63}.1", f"1.{2**63}", "01.1", "1.01", "9"],
)
def test_a_place_that_no_page_ended_at_is_refused(place: str) -> None:
    with pytest.raises(InvalidInput, match="next_cursor"):
        LINES.after_position(cursors.write("lines", place))
    with pytest.raises(InvalidInput, match="next_cursor"):
        LINES.after_position(place)
