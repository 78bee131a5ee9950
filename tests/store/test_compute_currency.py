"""Limits of compute bind in the currency that they were set in, or the service does not start in another."""

from __future__ import annotations

import pytest

from gaelp_ray.bootstrap import Runtime
from gaelp_ray.config import Settings
from gaelp_ray.domain.errors import SetupError
from gaelp_ray.domain.ledger import Money, Scope
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import accounts, currencies
from gaelp_ray.store.engine import Store
from tests.bank import Bank
from tests.builders import T0


def start(store: Store, currency: str) -> None:
    store.transact(currencies.keep, currency)


def test_a_currency_is_changed_where_nothing_is_limited(store: Store) -> None:
    for currency in ("USD", "USD", "EUR"):
        start(store, currency)


@pytest.mark.parametrize(
    ("scope", "subject"), [(Scope.USER, "ann"), (Scope.TEAM, "ads"), (Scope.GLOBAL, "")], ids=str
)
def test_it_stays_while_limits_of_compute_are_in_force(store: Store, scope: Scope, subject: str) -> None:
    bank = Bank(store)
    start(store, "USD")
    limited = bank.open({Period.DAY: 5}, scope=scope, subject=subject, currency="USD", money=Money.REAL)
    with pytest.raises(SetupError, match="GAELP_CURRENCY is EUR, and compute is limited in USD") as refused:
        start(store, "EUR")
    assert f"{scope} {subject}".rstrip() in refused.value.message
    start(store, "USD")
    store.transact(accounts.set_limit, limited, Period.DAY, None, now=T0)
    start(store, "EUR")


def test_other_limits_in_the_old_currency_are_no_reason(store: Store) -> None:
    """They bind what is spent from them, in whatever currency the service counts compute."""
    bank = Bank(store)
    start(store, "USD")
    bank.open({Period.DAY: 5}, scope=Scope.CAMPAIGN, subject="c", currency="USD", money=Money.REAL)
    bank.open({Period.DAY: 5}, scope=Scope.TEAM, subject="t", currency="USD", money=Money.SIMULATED)
    bank.open({Period.DAY: 5}, scope=Scope.TEAM, subject="t", currency="GBP", money=Money.REAL)
    start(store, "EUR")


def test_a_process_that_is_built_with_another_currency_says_so_in_a_sentence(
    store: Store, database_url: str
) -> None:
    Bank(store).open({Period.DAY: 5}, scope=Scope.TEAM, subject="ads", currency="USD", money=Money.REAL)
    Runtime(Settings(database_url=database_url, currency="USD")).keep_currency()
    with pytest.raises(SetupError, match="set it back to USD"):
        Runtime(Settings(database_url=database_url, currency="EUR")).keep_currency()
