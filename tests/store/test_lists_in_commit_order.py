"""Lists that go forward by id: what commits later has the larger id, so a cursor passes nothing by."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from gaelp_ray.domain.approvals import NewApproval, Purpose
from gaelp_ray.domain.ledger import Money, NewAccount, Scope
from gaelp_ray.services import accounts, approvals, audit, policies
from gaelp_ray.store.engine import Store
from tests.builders import ADMIN, T0

POLICY = {"currency": "EUR", "rules": [{"rule": "bid_cap", "max_micros": 5}]}


def ask(tx: Connection, name: str) -> int:
    new = NewApproval(
        purpose=Purpose.SPEND,
        subject="agent 1",
        reason=name,
        ttl=timedelta(days=1),
        amount_micros=1,
        currency="EUR",
    )
    return approvals.request(tx, new, by=ADMIN, now=T0).id


def write(tx: Connection, name: str) -> int:
    return policies.write(tx, name, POLICY, by=ADMIN, now=T0).id


def open_one(tx: Connection, name: str) -> int:
    return accounts.open_account(tx, NewAccount(Scope.TEAM, name, "EUR", Money.REAL), now=T0).id


LISTS: dict[str, tuple[Callable[..., int], Callable[..., Any], dict[str, Any]]] = {
    "approvals": (ask, approvals.page, {"now": T0}),
    "policies": (write, policies.page, {}),
    "budgets": (open_one, accounts.accounts, {}),
}


@pytest.mark.parametrize("kind", LISTS)
def test_what_commits_later_is_behind_the_cursor(
    store: Store, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    add, page, given = LISTS[kind]
    stored, go_on = threading.Event(), threading.Event()
    record = audit.record

    def late(tx: Connection, *args: Any, **kwargs: Any) -> Any:
        """Between the row and its record, the one that is slow waits."""
        if threading.current_thread().name == "slow_0":
            stored.set()
            assert go_on.wait(20)
        return record(tx, *args, **kwargs)

    monkeypatch.setattr(audit, "record", late)
    slow = ThreadPoolExecutor(1, thread_name_prefix="slow")
    quick = ThreadPoolExecutor(1, thread_name_prefix="quick")
    with slow, quick:
        first = slow.submit(store.transact, add, "slow")
        assert stored.wait(20)
        second = quick.submit(store.transact, add, "quick")
        with contextlib.suppress(TimeoutError):
            second.result(timeout=0.5)
        seen = [each.id for each in store.read(page, after=0, limit=10, **given)]
        go_on.set()
        ids = {first.result(20), second.result(20)}
    after = max(seen, default=0)
    seen += [each.id for each in store.read(page, after=after, limit=10, **given)]
    assert set(seen) == ids
