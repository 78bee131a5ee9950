"""/api/v1/approvals"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query, Response

from gaelp_ray.domain.approvals import Purpose
from gaelp_ray.services import approvals as service
from serve_app.auth import Caller
from serve_app.context import context
from serve_app.paging import Cursor, Limit, Pages
from serve_app.respond import json_response
from serve_app.routers.api import api_router
from serve_app.routers.ids import Id
from serve_app.schemas.approvals import ApprovalIn, ApprovalOut, ApprovalPage, VoteIn

router = api_router("/approvals", tag="approvals")

_APPROVALS = Pages("approvals")


@router.post("", status_code=201, response_model=ApprovalOut)
async def request_approval(body: ApprovalIn, caller: Caller) -> Response:
    """Ask other people to agree to something, once, within a time."""
    approval = await context().transact(service.request, body.new(), by=caller, now=datetime.now(UTC))
    return json_response(ApprovalOut.of(approval), 201)


@router.get("", response_model=ApprovalPage)
async def list_approvals(
    caller: Caller,
    purpose: Purpose | None = None,
    subject: Annotated[str | None, Query(max_length=200)] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Those that you asked for, or if you have a role all, in the order in which they were asked for."""
    found = await context().read(
        service.page,
        by=caller,
        now=datetime.now(UTC),
        purpose=purpose,
        subject=subject,
        after=_APPROVALS.after(cursor),
        limit=limit,
    )
    return _APPROVALS.answer([(approval.id, ApprovalOut.of(approval)) for approval in found], limit)


@router.get("/{approval_id}", response_model=ApprovalOut)
async def get_approval(approval_id: Id, caller: Caller) -> Response:
    found = await context().read(service.get, approval_id, by=caller, now=datetime.now(UTC))
    return json_response(ApprovalOut.of(found))


@router.post("/{approval_id}/approve", response_model=ApprovalOut)
async def approve(approval_id: Id, body: VoteIn, caller: Caller) -> Response:
    """Agree. Approvers only, and never who asked for it."""
    return await _vote(approval_id, True, body, caller)


@router.post("/{approval_id}/reject", response_model=ApprovalOut)
async def reject(approval_id: Id, body: VoteIn, caller: Caller) -> Response:
    """Refuse; one refusal is enough. Approvers only, and never who asked for it."""
    return await _vote(approval_id, False, body, caller)


@router.post("/{approval_id}/withdraw", response_model=ApprovalOut)
async def withdraw(approval_id: Id, caller: Caller) -> Response:
    """Take the request back; only who made it may."""
    found = await context().transact(service.withdraw, approval_id, by=caller, now=datetime.now(UTC))
    return json_response(ApprovalOut.of(found))


async def _vote(approval_id: int, approves: bool, body: VoteIn, caller: Caller) -> Response:
    found = await context().transact(
        service.vote, approval_id, approves=approves, reason=body.reason, by=caller, now=datetime.now(UTC)
    )
    return json_response(ApprovalOut.of(found))
