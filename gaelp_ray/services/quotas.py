"""Use cases of quotas: set and read them, and what is and was held under them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.errors import InvalidInput, NotFound
from gaelp_ray.domain.quotas import (
    DEFAULT_USER,
    FIELDS,
    Amounts,
    Quota,
    QuotaBook,
    QuotaKind,
    Usage,
    Verdict,
    check_quota,
    read_name,
    sum_of,
    written,
)
from gaelp_ray.services import audit
from gaelp_ray.store import queue as queue_store
from gaelp_ray.store import quotas as quota_store
from gaelp_ray.store import revision
from gaelp_ray.store.quotas import StoredQuota

MAX_BUCKETS = 1000
#: Waiting jobs are counted up to here.
COUNTED = 100_000


def put(tx: Connection, quota: Quota, *, by: Principal, now: datetime) -> StoredQuota:
    """Set a quota. It binds from the next plan on; what runs goes on. Admins only."""
    by.require_admin()
    quota = check_quota(quota)
    revision.bump(tx)
    before = quota_store.get(tx, quota.kind, quota.name)
    quota_store.put(tx, quota, by=by.user, now=now)
    was = None if before is None else _facts(before.quota)
    audit.record(
        tx, "quota.set", _subject(quota.kind, quota.name), by=by, now=now, before=was, after=_facts(quota)
    )
    return StoredQuota(quota, now, by.user)


def delete(tx: Connection, kind: QuotaKind, name: str, *, by: Principal, now: datetime) -> None:
    """Take a quota away: the default one applies then, or no limit at all. Admins only."""
    by.require_admin()
    name = read_name(kind, name)
    revision.bump(tx)
    before = quota_store.get(tx, kind, name)
    if before is None or not quota_store.remove(tx, kind, name):
        raise NotFound(f"There is no quota of {kind} {name!r}.")
    audit.record(tx, "quota.delete", _subject(kind, name), by=by, now=now, before=_facts(before.quota))


def get(connection: Connection, kind: QuotaKind, name: str, *, by: Principal) -> StoredQuota:
    """The quota in force: a user without one of his own goes by the default."""
    name = read_name(kind, name)
    book = _readable(connection, kind, name, by)
    stored = quota_store.get(connection, kind, name)
    return stored or StoredQuota(_in_force(book, kind, name))


def page(
    connection: Connection,
    *,
    by: Principal,
    kind: QuotaKind | None = None,
    after: tuple[QuotaKind, str] | None = None,
    limit: int,
) -> list[StoredQuota]:
    """Stored quotas by kind and name; a user sees his own, his team's and the default."""
    only: list[tuple[QuotaKind, str]] | None = None
    if not by.admin:
        team = quota_store.book_of(connection, by.user).team_of(by.user)
        only = [(QuotaKind.USER, by.user), (QuotaKind.USER, DEFAULT_USER)]
        only += [(QuotaKind.TEAM, team)] if team else []
    return quota_store.page(connection, kind=kind, only=only, after=after, limit=limit)


@dataclass(frozen=True)
class QuotaUsage:
    """A quota and what is held under it now."""

    quota: Quota
    held: Amounts
    #: Jobs that wait.
    waiting: int
    #: Of a team: what each member holds who holds anything.
    members: dict[str, Amounts]


def usage(connection: Connection, kind: QuotaKind, name: str, *, by: Principal) -> QuotaUsage:
    name = read_name(kind, name)
    book = _readable(connection, kind, name, by)
    owners = _owners(book, kind, name)
    held = quota_store.held(connection, owners)
    return QuotaUsage(
        quota=_in_force(book, kind, name),
        held=sum_of(held.values()),
        waiting=queue_store.waiting_of(connection, owners, limit=COUNTED),
        members=held if kind is QuotaKind.TEAM else {},
    )


@dataclass(frozen=True)
class UsagePoint:
    at: datetime
    #: What was held on average from then to the next point, in the unit of ``Amounts``.
    average: float


def usage_over_time(
    connection: Connection,
    kind: QuotaKind,
    name: str,
    *,
    resource: str,
    since: datetime,
    until: datetime,
    buckets: int,
    by: Principal,
    now: datetime,
) -> list[UsagePoint]:
    """What was held in each of ``buckets`` equal spans, by the lives of attempts. A team's is its members'
    of today."""
    if resource not in FIELDS:
        raise InvalidInput(f"`resource` must be one of {', '.join(FIELDS)}; got {resource[:80]!r}.")
    if not 1 <= buckets <= MAX_BUCKETS:
        raise InvalidInput(f"`buckets` must be 1 to {MAX_BUCKETS}; got {buckets}.")
    if since >= until:
        raise InvalidInput("`since` must be before `until`.")
    name = read_name(kind, name)
    owners = _owners(_readable(connection, kind, name, by), kind, name)
    found = quota_store.over_time(
        connection, owners, resource, since=since, until=until, buckets=buckets, now=now
    )
    return [UsagePoint(at, average) for at, average in found]


def may_hold(connection: Connection, user: str, asked: Amounts) -> Verdict | None:
    """Why a user may not hold so much more at this moment; None when he may. The planner decides."""
    book = quota_store.book_of(connection, user)
    team = book.team_of(user)
    teammates = [member.name for member in book.members(team)] if team else []
    return Usage(book, quota_store.held(connection, [user, *teammates])).refuses(user, asked)


def _readable(connection: Connection, kind: QuotaKind, name: str, by: Principal) -> QuotaBook:
    """The quotas in force, if the caller may read this one: his own, his team's or the default one."""
    book = quota_store.book(connection)
    mine = {by.user, DEFAULT_USER} if kind is QuotaKind.USER else {book.team_of(by.user)}
    known = kind is QuotaKind.USER or (kind, name) in book.quotas or bool(book.members(name))
    if not known or not (by.admin or name in mine):
        raise NotFound(f"There is no quota of {kind} {name[:140]!r}, or you may not see it.")
    return book


def _subject(kind: QuotaKind, name: str) -> str:
    return f"quota of {kind} {name}"


def _facts(quota: Quota) -> dict[str, object]:
    return {
        "team": quota.team,
        "limit": written(quota.limit),
        "borrowing": written(quota.borrowing),
        "lending": written(quota.lending),
        "weight": quota.weight,
        "queued": quota.queued,
    }


def _in_force(book: QuotaBook, kind: QuotaKind, name: str) -> Quota:
    return book.user(name) if kind is QuotaKind.USER else book.team(name)


def _owners(book: QuotaBook, kind: QuotaKind, name: str) -> Sequence[str]:
    return [name] if kind is QuotaKind.USER else [member.name for member in book.members(name)]
