"""/api/v1/quotas"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Path, Query, Response
from pydantic import Field

from gaelp_ray.domain import cursors, periods
from gaelp_ray.domain.quotas import QuotaKind
from gaelp_ray.services import quotas as service
from serve_app.auth import Caller
from serve_app.context import context
from serve_app.paging import Cursor, Limit, Pages
from serve_app.respond import json_response
from serve_app.routers.api import api_router
from serve_app.routers.ids import PLAIN
from serve_app.schemas.common import Instant
from serve_app.schemas.quotas import Members, QuotaIn, QuotaOut, QuotaPage, UsageHistoryOut, UsageOut

router = api_router("/quotas", tag="quotas")

_QUOTAS = Pages("quotas")

Name = Annotated[
    str, Path(max_length=128, description="The user or team; `*` is every user without his own.")
]

#: What a history shows that is asked for no span.
_SPAN = timedelta(hours=24)


@router.get("", response_model=QuotaPage)
async def list_quotas(
    caller: Caller,
    kind: QuotaKind | None = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Quotas that were set, by kind and name; you see your own, your team's and the default, an admin all."""
    found = await context().read(service.page, by=caller, kind=kind, after=_after(cursor), limit=limit)
    items = [(f"{each.quota.kind}:{each.quota.name}", QuotaOut.of(each)) for each in found]
    return _QUOTAS.answer(items, limit)


@router.get("/{members}/{name}", response_model=QuotaOut)
async def get_quota(members: Members, name: Name, caller: Caller) -> Response:
    """The quota in force: a user without one of his own goes by the default."""
    return json_response(QuotaOut.of(await context().read(service.get, members.kind, name, by=caller)))


@router.put("/{members}/{name}", response_model=QuotaOut)
async def set_quota(members: Members, name: Name, body: QuotaIn, caller: Caller) -> Response:
    """Set a quota as a whole. It binds from the next plan on, and what runs goes on. Admins only."""
    quota = body.quota(members.kind, name)
    stored = await context().transact(service.put, quota, by=caller, now=datetime.now(UTC))
    context().hint_scheduler()
    return json_response(QuotaOut.of(stored))


@router.delete("/{members}/{name}", status_code=204)
async def delete_quota(members: Members, name: Name, caller: Caller) -> None:
    """Take a quota away; the default one applies then, or no limit. Admins only."""
    await context().transact(service.delete, members.kind, name, by=caller, now=datetime.now(UTC))
    context().hint_scheduler()


@router.get("/{members}/{name}/usage", response_model=UsageOut)
async def get_usage(members: Members, name: Name, caller: Caller) -> Response:
    """What is held now, by the claims of live attempts, and how many jobs wait."""
    usage = await context().read(service.usage, members.kind, name, by=caller)
    return json_response(UsageOut.of(members.kind, name, usage))


@router.get("/{members}/{name}/usage/history", response_model=UsageHistoryOut)
async def get_usage_history(
    members: Members,
    name: Name,
    caller: Caller,
    resource: str = "gpu",
    since: Annotated[Instant | None, Query(description="A day before `until`.")] = None,
    until: Annotated[Instant | None, Query(description="Now.")] = None,
    buckets: Annotated[int, Field(ge=1, le=service.MAX_BUCKETS), PLAIN, Query()] = 24,
) -> Response:
    """What was held on average in each of so many equal spans."""
    now = datetime.now(UTC)
    begin, end = periods.meant(since, until, span=_SPAN, now=now)
    points = await context().read(
        service.usage_over_time,
        members.kind,
        name,
        resource=resource,
        since=begin,
        until=end,
        buckets=buckets,
        by=caller,
        now=now,
    )
    return json_response(UsageHistoryOut.of(resource, points))


def _after(cursor: str | None) -> tuple[QuotaKind, str] | None:
    place = _QUOTAS.position(cursor)
    if place is None:
        return None
    kind, _, name = place.partition(":")
    if kind not in set(QuotaKind) or "\x00" in name:
        raise cursors.foreign()
    return QuotaKind(kind), name
