"""What ad platforms report, held against what the ledger booked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from gaelp_ray.domain.ledger import Correct, HeldMoney, HoldState, Settle
from gaelp_ray.domain.money import MAX_AMOUNT_MICROS
from gaelp_ray.domain.platforms import DeliveryReport

#: How long a platform may take for its first report before an order counts as unreported.
PATIENCE = timedelta(hours=48)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """An order whose reports and books differ.

    ``unknown``: no hold has its key. ``currency``: it was paid in another. ``over_delivery``: more was
    delivered than was held. ``differs``: another amount was booked. ``open``: the last report is in, the hold
    is not resolved. ``unreported``: money was spent, and the platform says nothing of it. ``other_platform``:
    another platform reported it first, so this one's reports are not booked.
    """

    kind: str
    order_key: str
    campaign: str
    reported_micros: int
    #: With everything that was corrected of it.
    booked_micros: int
    #: Of the report that counts; 0 where there is none.
    number: int = 0

    @property
    def difference_micros(self) -> int:
        return self.reported_micros - self.booked_micros


def latest(reports: Iterable[DeliveryReport]) -> dict[str, DeliveryReport]:
    """The report that counts of each order: duplicates and the order of arrival change nothing."""
    found: dict[str, DeliveryReport] = {}
    for report in reports:
        known = found.get(report.order_key)
        if known is None or report.number > known.number:
            found[report.order_key] = report
    return found


@dataclass(frozen=True, slots=True)
class Corrected:
    """What was booked beside the hold of an order: by reports before, and by hand."""

    micros: int = 0
    #: How often.
    times: int = 0


_NEVER = Corrected()


def reconcile(
    reports: Iterable[DeliveryReport],
    holds: Mapping[str, HeldMoney],
    now: datetime,
    *,
    corrected: Mapping[str, Corrected] | None = None,
    of_others: Collection[str] = (),
) -> list[Mismatch]:
    """Every order on which platform and ledger differ, by key; empty where they agree.

    ``of_others``: orders that other platforms reported first.
    """
    counted, beside = latest(reports), corrected or {}
    found = [
        _compare(report, holds.get(key), beside.get(key, _NEVER), key in of_others)
        for key, report in counted.items()
    ]
    found += [
        _unreported(held, beside.get(key, _NEVER), now) for key, held in holds.items() if key not in counted
    ]
    return sorted((each for each in found if each is not None), key=lambda each: each.order_key)


@dataclass(frozen=True, slots=True)
class Repair:
    order_key: str
    request: Settle | Correct


def repairs(
    mismatches: Iterable[Mismatch],
    holds: Mapping[str, HeldMoney],
    corrected: Mapping[str, Corrected] | None = None,
) -> list[Repair]:
    """What to ask of the ledger so that it says what the platforms say of spent money.

    Each is asked once: whoever asks holds the accounts of the holds, and compares again before. So its key is
    new each time, also where the same amount comes back. What is unknown, in another currency, unreported, or
    more than one operation may book is left to people.
    """
    asked, beside = [], corrected or {}
    for each in mismatches:
        held = holds.get(each.order_key)
        if held is None or each.kind not in {"over_delivery", "differs", "open"}:
            continue
        if max(each.reported_micros, abs(each.difference_micros)) > MAX_AMOUNT_MICROS:
            continue
        before = beside.get(each.order_key, _NEVER)
        order = sha256(each.order_key.encode()).hexdigest()
        key = f"report:{order}:{each.number}:{each.booked_micros}:{before.times}"
        late = held.state is HoldState.EXPIRED and held.reported_micros is None
        if held.state is HoldState.PENDING or late:
            # What was corrected by hand before counts as spent of it.
            spent = max(0, each.reported_micros - before.micros)
            asked.append(Repair(each.order_key, Settle(key=key, hold_key=held.key, spent_micros=spent)))
            difference = each.reported_micros - before.micros - spent
            key += ":rest"
        else:
            difference = each.difference_micros
        if difference:
            asked.append(Repair(each.order_key, _correction(key, each, held, difference)))
    return asked


def booked(held: HeldMoney) -> int:
    """What the hold itself was resolved with."""
    return held.posted_micros if held.reported_micros is None else held.reported_micros


def _compare(
    report: DeliveryReport, held: HeldMoney | None, corrected: Corrected, of_another: bool
) -> Mismatch | None:
    spent = corrected.micros + (0 if held is None else booked(held))
    kind = "other_platform" if of_another else _kind(report, held, spent)
    if kind is None:
        return None
    return Mismatch(kind, report.order_key, report.campaign, report.cost_micros, spent, report.number)


def _kind(report: DeliveryReport, held: HeldMoney | None, spent: int) -> str | None:
    if held is None:
        return "unknown"
    if held.currency != report.currency:
        return "currency"
    if report.cost_micros > held.held_micros and report.cost_micros != spent:
        return "over_delivery"
    if held.state is HoldState.PENDING:
        return "open" if report.final else None
    # Before the last report less may be reported than was booked.
    behind = not report.final and report.cost_micros < spent
    return None if behind or report.cost_micros == spent else "differs"


def _unreported(held: HeldMoney, corrected: Corrected, now: datetime) -> Mismatch | None:
    spent = booked(held) + corrected.micros
    if spent == 0 or now - held.created_at < PATIENCE:
        return None
    return Mismatch("unreported", held.key, "", 0, spent)


def _correction(key: str, mismatch: Mismatch, held: HeldMoney, difference: int) -> Correct:
    return Correct(
        key=key,
        account_ids=held.account_ids,
        currency=held.currency,
        delta_micros=difference,
        counted_at=held.created_at,
        reason=f"{mismatch.reported_micros} micros are reported, {mismatch.booked_micros} were booked.",
        hold_key=held.key,
    )
