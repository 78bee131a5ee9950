"""Guards are told apart by the accounts they gather for."""

from __future__ import annotations

from gaelp_ray.actors.handles import ControlPlane, names
from gaelp_ray.config import Settings


def test_linked_operations_go_to_the_guard_of_their_lowest_account() -> None:
    plane = ControlPlane(None, {}, (), None, ("first", "second"))
    assert [plane.guard(ids) for ids in ([2], [3], [7, 4, 9], [9, 5])] == [
        "first",
        "second",
        "first",
        "second",
    ]


def test_every_guard_is_named_for_taking_it_down() -> None:
    assert {"budget-guard-0", "budget-guard-1"} <= set(names(Settings(budget_guards=2)))
