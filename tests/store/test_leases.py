"""One scheduler leads at a time, each under a larger epoch than the one before."""

from __future__ import annotations

from datetime import timedelta

from gaelp_ray.services import scheduling
from gaelp_ray.store.engine import Store
from gaelp_ray.store.leases import Lease
from tests.builders import T0, at, at_once

TTL = timedelta(seconds=10)


def lead(store: Store, holder: str, *, epoch: int | None = None, after_s: float = 0) -> Lease | None:
    return store.transact(scheduling.lead, holder, epoch=epoch, ttl=TTL, now=at(after_s))


def test_the_first_to_come_leads(store: Store) -> None:
    assert store.read(scheduling.leader) is None
    lease = lead(store, "a")
    assert lease == Lease("scheduler", "a", 1, T0 + TTL)
    assert store.read(scheduling.leader) == lease


def test_the_second_waits_while_the_first_renews(store: Store) -> None:
    lead(store, "a")
    assert lead(store, "b", after_s=9.9) is None
    renewed = lead(store, "a", epoch=1, after_s=9.9)
    assert renewed == Lease("scheduler", "a", 1, at(19.9))
    assert lead(store, "b", after_s=19.8) is None


def test_the_second_takes_over_when_the_lease_has_run_out(store: Store) -> None:
    lead(store, "a")
    assert lead(store, "b", after_s=10) == Lease("scheduler", "b", 2, at(20))
    assert lead(store, "a", epoch=1, after_s=10.1) is None


def test_a_renewal_that_comes_late_to_a_free_lease_keeps_its_epoch(store: Store) -> None:
    lead(store, "a")
    assert lead(store, "a", epoch=1, after_s=60) == Lease("scheduler", "a", 1, at(70))


def test_a_new_life_of_the_holder_need_not_wait_and_begins_an_epoch(store: Store) -> None:
    lead(store, "a")
    assert lead(store, "a", after_s=1) == Lease("scheduler", "a", 2, at(11))
    stale = lead(store, "a", epoch=1, after_s=2)
    assert stale is not None
    assert stale.epoch == 3, "a renewal of an epoch that is over renews nothing"


def test_epochs_only_grow(store: Store) -> None:
    found = [lead(store, holder, after_s=20.0 * n) for n, holder in enumerate("abaab")]
    assert [lease.epoch for lease in found if lease] == [1, 2, 3, 4, 5]


def test_of_many_that_come_at_the_same_moment_one_leads(store: Store) -> None:
    first = at_once(8, lambda number: lead(store, f"s{number}"))
    assert len([r for r in first if isinstance(r, Lease)]) == 1
    assert first.count(None) == 7
    later = at_once(8, lambda number: lead(store, f"t{number}", after_s=10))
    assert [r.epoch for r in later if isinstance(r, Lease)] == [2]
