"""The audit on the wire."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from pydantic import Field

from gaelp_ray.domain.audit import Sealed
from gaelp_ray.services.audit import Proof
from serve_app.schemas.common import Items, Out


class RecordOut(Out):
    """One change: who, what, when, before and after."""

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    before: Any = Field(description="null: there was nothing.")
    after: Any = Field(description="null: there is nothing.")
    request_id: str | None
    hash: str

    @staticmethod
    def of(sealed: Sealed) -> RecordOut:
        record = sealed.record
        return RecordOut.model_construct(
            seq=sealed.seal.seq,
            at=record.at,
            actor=record.actor,
            action=record.action,
            subject=record.subject,
            before=_read(record.before),
            after=_read(record.after),
            request_id=record.request_id,
            hash=sealed.seal.hash,
        )


class RecordPage(Items):
    items: list[RecordOut]


class BreakOut(Out):
    seq: int
    kind: str
    message: str


class ProofOut(Out):
    """What a verification of the whole chain found."""

    holds: bool
    seq: int = Field(description="The number and hash of the end; keep both elsewhere as an anchor.")
    hash: str
    breaks: list[BreakOut]

    @staticmethod
    def of(proof: Proof) -> ProofOut:
        breaks = [BreakOut.model_validate(each) for each in proof.breaks]
        return ProofOut(holds=proof.holds, seq=proof.head.seq, hash=proof.head.hash, breaks=breaks)


class ReportRow(Out):
    section: str
    at: str | None
    actor: str | None
    subject: str | None
    what: str | None
    amount_micros: Any
    currency: str | None
    detail: str | None


class ReportOut(Out):
    """What happened in a period, by section."""

    spend: list[ReportRow]
    holds: list[ReportRow]
    violations: list[ReportRow]
    approvals: list[ReportRow]
    limits: list[ReportRow]
    changes: list[ReportRow]


def _read(text: str | None) -> Any:
    """What was recorded; text that somebody spoilt is shown as it is."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text
