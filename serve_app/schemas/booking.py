"""What is booked on budgets, on the wire: holds, spends, corrections, and their receipts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.config import JsonDict

from gaelp_ray.domain import ledger, names
from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.ledger import (
    MAX_TTL,
    AtExpiry,
    HeldMoney,
    HoldState,
    Operation,
    Receipt,
)
from gaelp_ray.domain.safety.verdicts import Allow, Clip
from gaelp_ray.services.budgets import Purse
from gaelp_ray.services.reviews import Admission, Reported
from serve_app.schemas.common import CurrencyCode, In, Instant, Micros, Number, Out, by

#: How a stored key is shown to the caller.
Shown = Callable[[str], str]


MAX_OPERATIONS = 256

#: Reasons of one verdict that are shown.
MAX_REASONS = 20

#: Values of one reported series, and series.
_MAX_SERIES, _MAX_VALUES = 20, 1000

_HOLD: JsonDict = {"key": "order-17", "amount_micros": 2_500_000, "ttl_seconds": 300}

_REAL_HOLD: JsonDict = _HOLD | {
    "margin_micros": 250_000,
    "campaign": "spring",
    "action": {"bid_micros": 400_000, "region": "DE", "categories": ["sport"]},
    "reported": {"profit_micros": 1_000_000, "peak_profit_micros": 1_500_000},
}

_RENEWAL: JsonDict = _HOLD | {"key": "order-17/2", "spent_micros": 900_000}

_SPEND: JsonDict = {
    "key": "report-2025-03-01",
    "amount_micros": 1_250_000,
    "occurred_at": "2025-03-01T18:00:00Z",
}

_OPERATIONS: JsonDict = {
    "operations": [
        _HOLD | {"operation": "hold"},
        {"operation": "post", "hold_key": "order-16", "amount_micros": 1_900_000},
        {"operation": "void", "hold_key": "order-15"},
    ]
}


def _campaign(name: str) -> str | None:
    """Empty is no campaign."""
    return by(names.campaign)(name) if name else None


Key = Annotated[str, Field(description="Yours; the same with the same body is answered again.")]

Campaign = Annotated[
    Annotated[str, AfterValidator(_campaign)] | None,
    Field(
        description="Its budget is bound as well, if you are a member of it or an operator; in whatever case "
        "it is written."
    ),
]

Currency = Annotated[
    CurrencyCode | None, Field(description="By default that of the budget; another is refused.")
]


class ActionIn(In):
    """What the money is for, as the policies of the agent ask."""

    bid_micros: Micros | None = None
    region: Annotated[str, AfterValidator(by(names.region))] | None = Field(
        default=None, description="ISO 3166: `DE`, `US-CA`; in whatever case it is written."
    )
    categories: list[Annotated[str, AfterValidator(by(names.category))]] = Field(
        default_factory=list, max_length=100, description="In whatever case they are written."
    )


class ReportedIn(In):
    """What only the agent's host knows."""

    profit_micros: Micros | None = None
    peak_profit_micros: Micros | None = None
    series: dict[
        Annotated[str, Field(max_length=100)], Annotated[list[Number], Field(max_length=_MAX_VALUES)]
    ] = Field(
        default_factory=dict, max_length=_MAX_SERIES, description="Recent values by metric, oldest first."
    )

    def facts(self) -> Reported:
        series = {metric: tuple(values) for metric, values in self.series.items()}
        return Reported(self.profit_micros, self.peak_profit_micros, series)


class _Held(In):
    amount_micros: Micros
    currency: Currency = None
    ttl_seconds: Number = Field(default=60, gt=0, le=MAX_TTL.total_seconds())
    margin_micros: Micros = Field(
        default=0, description="Held on top, for platforms that deliver more than they were told."
    )
    at_expiry: AtExpiry = Field(
        default=AtExpiry.RETURN, description="`spend`: what nobody resolved in time counts as spent."
    )
    campaign: Campaign = None

    def hold(self, key: str, purse: Purse) -> ledger.Hold:
        return ledger.Hold(
            key=key,
            account_ids=purse.account_ids,
            currency=self.currency or purse.account.currency,
            amount_micros=self.amount_micros,
            ttl=timedelta(seconds=self.ttl_seconds),
            margin_micros=self.margin_micros,
            at_expiry=self.at_expiry,
            named=purse.named,
        )


class HoldIn(_Held):
    """Money to reserve. ``action`` and ``reported`` are for real money of an agent."""

    model_config = ConfigDict(json_schema_extra={"examples": [_HOLD, _REAL_HOLD]})

    key: Key
    action: ActionIn | None = None
    reported: ReportedIn | None = None


class PostIn(In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"amount_micros": 1_900_000}, {}]})

    amount_micros: Micros | None = Field(default=None, description="By default all but the margin.")


class SettleIn(In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"spent_micros": 1_900_000}]})

    spent_micros: Micros


class RenewIn(_Held):
    """What was spent under a hold, and the next one."""

    model_config = ConfigDict(json_schema_extra={"examples": [_RENEWAL]})

    key: Key
    spent_micros: Micros


class SpendIn(In):
    """Money that was spent in the world already."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SPEND]})

    key: Key
    amount_micros: Micros
    currency: Currency = None
    occurred_at: Instant | None = Field(default=None, description="When, if not now.")
    campaign: Campaign = None

    def spend(self, key: str, purse: Purse) -> ledger.Spend:
        return ledger.Spend(
            key=key,
            account_ids=purse.charged_ids,
            currency=self.currency or purse.account.currency,
            amount_micros=self.amount_micros,
            occurred_at=self.occurred_at,
            named=purse.named,
        )


class CorrectionIn(In):
    """A difference to be booked beside what was booked wrongly; negative gives money back."""

    key: Key
    delta_micros: Micros
    currency: Currency = None
    counted_at: Instant | None = Field(
        default=None,
        description="A moment in the windows that are to be corrected; by default that of the hold.",
    )
    reason: str
    campaign: Campaign = None
    hold_key: str | None = Field(
        default=None,
        description="The hold whose spending it corrects. It is booked on the accounts of the hold, and "
        "counts as spent by its order when a platform reports on it.",
    )

    def correction(self, key: str, purse: Purse, held: HeldMoney | None = None) -> ledger.Correct:
        counted_at = self.counted_at or (held.created_at if held is not None else None)
        if counted_at is None:
            raise InvalidInput(
                "`counted_at` must be a moment in the windows that are to be corrected, or `hold_key` name "
                "the hold that is."
            )
        return ledger.Correct(
            key=key,
            account_ids=purse.account_ids if held is None else held.account_ids,
            currency=self.currency or purse.account.currency,
            delta_micros=self.delta_micros,
            counted_at=counted_at,
            reason=self.reason,
            hold_key=None if held is None else held.key,
            named=purse.named if held is None else None,
        )


class HoldOperation(_Held):
    operation: Literal["hold"]
    key: Key


class PostOperation(PostIn):
    operation: Literal["post"]
    hold_key: str


class VoidOperation(In):
    operation: Literal["void"]
    hold_key: str


class SettleOperation(SettleIn):
    operation: Literal["settle"]
    hold_key: str


class SpendOperation(SpendIn):
    operation: Literal["spend"]


AnyOperation = Annotated[
    HoldOperation | PostOperation | VoidOperation | SettleOperation | SpendOperation,
    Field(discriminator="operation"),
]


class OperationsIn(In):
    """Operations to be carried out in order, each by itself."""

    model_config = ConfigDict(json_schema_extra={"examples": [_OPERATIONS]})

    operations: list[AnyOperation] = Field(min_length=1, max_length=MAX_OPERATIONS)


class ReasonOut(Out):
    code: str
    message: str
    policy: str | None


class VerdictOut(Out):
    """What the policies let happen of an action: do this, which may be less than what was asked for."""

    verdict: Literal["allow", "clip"]
    amount_micros: int
    bid_micros: int | None
    reasons: list[ReasonOut] = Field(description=f"Of many the first {MAX_REASONS}.")

    @staticmethod
    def of(admission: Admission) -> VerdictOut:
        verdict = admission.verdict
        assert isinstance(verdict, Allow | Clip)
        reasons = verdict.reasons if isinstance(verdict, Clip) else ()
        return VerdictOut.model_construct(
            verdict="clip" if reasons else "allow",
            amount_micros=verdict.action.amount_micros,
            bid_micros=verdict.action.bid_micros,
            reasons=[ReasonOut.model_validate(each) for each in reasons[:MAX_REASONS]],
        )


class ReceiptOut(Out):
    """An operation that was carried out."""

    key: str
    operation: Operation
    amount_micros: int = Field(
        description="Held with its margin, posted, given back or spent; the difference."
    )
    at: datetime
    hold_key: str | None
    expires_at: datetime | None
    breached: bool = Field(description="It took some budget past a limit.")

    @staticmethod
    def of(receipt: Receipt, shown: Shown) -> ReceiptOut:
        return ReceiptOut.model_construct(**_receipt(receipt, shown))


class HoldReceiptOut(ReceiptOut):
    action: VerdictOut | None = Field(default=None, description="Of real money of an agent.")

    @staticmethod
    def admitted(receipt: Receipt, shown: Shown, admission: Admission | None = None) -> HoldReceiptOut:
        action = None if admission is None else VerdictOut.of(admission)
        return HoldReceiptOut.model_construct(**_receipt(receipt, shown), action=action)


class RenewalOut(Out):
    settled: ReceiptOut
    hold: ReceiptOut


class AnswerOut(Out):
    """What became of one operation: what it would have been answered with by itself."""

    status: int
    receipt: ReceiptOut | None = None
    problem: dict[str, Any] | None = None


class AnswerList(Out):
    items: list[AnswerOut] = Field(description="One for each operation, in order.")


class HeldOut(Out):
    """A hold as it stands."""

    key: str
    account_ids: list[int]
    currency: str
    amount_micros: int
    margin_micros: int
    at_expiry: AtExpiry
    job_id: int | None
    state: HoldState
    posted_micros: int
    reported_micros: int | None = Field(description="What was settled after it had expired.")
    created_at: datetime
    expires_at: datetime
    resolved_at: datetime | None

    @staticmethod
    def of(held: HeldMoney, shown: Shown) -> HeldOut:
        return HeldOut.model_construct(
            key=shown(held.key),
            account_ids=list(held.account_ids),
            currency=held.currency,
            amount_micros=held.amount_micros,
            margin_micros=held.margin_micros,
            at_expiry=held.at_expiry,
            job_id=held.job_id,
            state=held.state,
            posted_micros=held.posted_micros,
            reported_micros=held.reported_micros,
            created_at=held.created_at,
            expires_at=held.expires_at,
            resolved_at=held.resolved_at,
        )


class HeldList(Out):
    items: list[HeldOut]


def refuse_action(body: HoldIn) -> None:
    """Raise ``InvalidInput`` where an action is described that nobody reviews."""
    if body.action is not None or body.reported is not None:
        raise InvalidInput(
            "`action` and `reported` are for real money of an agent; leave them out for this budget."
        )


def _receipt(receipt: Receipt, shown: Shown) -> dict[str, Any]:
    return {
        "key": shown(receipt.key),
        "operation": receipt.operation,
        "amount_micros": receipt.amount_micros,
        "at": receipt.at,
        "hold_key": None if receipt.hold_key is None else shown(receipt.hold_key),
        "expires_at": receipt.expires_at,
        "breached": receipt.breached,
    }
