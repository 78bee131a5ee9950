"""Money under every order of spends, repeats and changed limits, against a model that is a dictionary."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import text

from gaelp_ray.domain.errors import BudgetExceeded, GaelpError, IdempotencyConflict
from gaelp_ray.services import budgets
from gaelp_ray.store import agents as agent_store
from gaelp_ray.store.engine import Store
from tests.builders import World

LIMITS = st.none() | st.integers(0, 60)


class SpendMachine(RuleBasedStateMachine):
    def __init__(self, store: Store) -> None:
        super().__init__()
        self.world = World(store)
        self.agent = self.world.agent(name=f"agent {id(self)}", limit_micros=40).id
        self.limit: int | None = 40
        self.booked: dict[str, int] = {}
        #: The highest limit that was in force while something was booked.
        self.highest: int | None = 0

    @rule(limit=LIMITS)
    def change_limit(self, limit: int | None) -> None:
        fields = {"budget_limit_micros": limit}
        self.world.store.transact(agent_store.set_fields, self.agent, fields, now=self.world.now)
        self.limit = limit

    @rule(key=st.sampled_from("abcdefgh"), amount=st.integers(1, 25))
    def spend(self, key: str, amount: int) -> None:
        total = sum(self.booked.values())
        expected: int | type[GaelpError]
        if key in self.booked:
            expected = total if self.booked[key] == amount else IdempotencyConflict
        elif self.limit is not None and total + amount > self.limit:
            expected = BudgetExceeded
        else:
            expected = total + amount
            self.booked[key] = amount
            both = None if self.limit is None or self.highest is None else max(self.limit, self.highest)
            self.highest = both
        assert self.ask(key, amount) == expected

    def ask(self, key: str, amount: int) -> int | type[GaelpError]:
        try:
            return self.world.store.transact(
                budgets.spend, self.agent, job_id=None, key=key, amount_micros=amount, now=self.world.now
            )
        except GaelpError as error:
            return type(error)

    @invariant()
    def the_balance_is_the_sum_and_within_the_limit(self) -> None:
        statement = text("SELECT key, amount_micros FROM spends WHERE agent_id = :agent")
        with self.world.store.engine.connect() as connection:
            rows = connection.execute(statement, {"agent": self.agent}).all()
        assert {row.key: row.amount_micros for row in rows} == self.booked
        agent = self.world.store.read(agent_store.get, self.agent)
        assert agent is not None
        assert agent.budget_spent_micros == sum(self.booked.values())
        assert self.highest is None or agent.budget_spent_micros <= self.highest


def test_no_order_of_spends_passes_a_limit(store: Store) -> None:
    chosen = settings(max_examples=20, stateful_step_count=25)
    run_state_machine_as_test(lambda: SpendMachine(store), settings=chosen)
