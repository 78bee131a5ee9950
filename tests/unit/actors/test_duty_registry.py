"""Whatever is done again and again is a duty of the registry, and none of it dies of an error."""

from __future__ import annotations

import ast
import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gaelp_ray.actors import loops, meters
from gaelp_ray.actors.loops import attempt, every, without_end
from gaelp_ray.domain import duties
from gaelp_ray.domain.duties import DUTIES, TICK, Duty, Failed, isolated, words_of
from gaelp_ray.domain.errors import Busy, Unavailable
from gaelp_ray.observability.metrics import DUTY_FAILURES, Metric

ROOT = Path(__file__).parents[3]
STARTERS = {"every", "without_end", "attempt"}
REGISTERED = {name for name, value in vars(duties).items() if isinstance(value, Duty)}
#: Loops that end with the request or connection that they serve, and the helpers that duties are made of.
NO_DUTY = {
    ("actors/loops.py", "every"),
    ("actors/loops.py", "without_end"),
    ("actors/loops.py", "until_answered"),
    ("actors/launcher.py", "until_stored"),
    ("routers/budgets.py", "_csv"),
    ("routers/live.py", "_send"),
    ("routers/logs.py", "_follow"),
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for folder in (ROOT / "gaelp_ray" / "actors", ROOT / "serve_app"):
        for path in sorted(folder.rglob("*.py")):
            yield "/".join(path.parts[-2:]), ast.parse(path.read_text())


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def started(tree: ast.Module) -> Iterator[str]:
    """Names of the duties that a module starts, or the line of a start that names none."""
    for call in calls(tree):
        if not (isinstance(call.func, ast.Name) and call.func.id in STARTERS):
            continue
        # Of a loop over a table of duties, all that the module names.
        where = tree if any(isinstance(arg, ast.Starred) for arg in call.args) else call
        named = {node.id for node in ast.walk(where) if isinstance(node, ast.Name)} & REGISTERED
        yield from named or {f"line {call.lineno}"}


def test_every_loop_is_started_for_a_duty_of_the_registry() -> None:
    found = {name: set(started(tree)) for name, tree in modules() if name != "actors/loops.py"}
    assert not [(name, each) for name, named in found.items() for each in named - REGISTERED]
    whole = {"TICK", "RECONCILE", "ORDERS", "HEARTBEAT", "EXPIRE_HOLDS", "COMMITS", "POINTS", "LIVE_EVENTS"}
    assert whole <= set().union(*found.values())


def endless(function: ast.AST) -> bool:
    """Whether it goes round without a condition that its own work changes."""
    return any(
        isinstance(node, ast.While) and isinstance(node.test, ast.Constant) for node in ast.walk(function)
    )


def test_no_other_loop_goes_on_without_end() -> None:
    found = {
        (name, node.name)
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and endless(node)
    }
    assert found <= NO_DUTY, "start it with `every` or `without_end`, and name it in domain/duties.py"


def test_every_duty_has_a_name_of_its_own_and_says_what_it_does() -> None:
    all_of_them = [value for value in vars(duties).values() if isinstance(value, Duty)]
    assert sorted(DUTIES) == sorted(each.name for each in all_of_them)
    assert all(each.what.endswith(".") for each in all_of_them)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    found: Counter[str] = Counter()

    def count(metric: Metric, amount: float = 1, **labels: str) -> None:
        assert metric is DUTY_FAILURES
        found[labels["duty"]] += int(amount)

    monkeypatch.setattr(meters, "count", count)
    return found


def test_a_duty_that_fails_is_counted_and_done_again(
    counted: Counter[str], caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[Exception | None] = [ValueError("a"), ValueError("a"), KeyError("b"), Unavailable(), None]

    async def watch(start: object) -> None:
        waiting = list(errors)
        done = asyncio.Event()

        async def do() -> None:
            if not waiting:
                done.set()
                await asyncio.Event().wait()
            if (error := waiting.pop(0)) is not None:
                raise error

        loop = asyncio.create_task(start(do))  # type: ignore[operator]
        await done.wait()
        loop.cancel()

    asyncio.run(watch(lambda do: every(0, TICK, do)))
    assert counted == {"tick": 3}
    failures = [record for record in caplog.records if record.message == "duty failed"]
    assert [record.exc_info is not None for record in failures] == [True, False, True], "once in each way"
    asyncio.run(watch(lambda do: without_end(TICK, do, rest_s=0)))
    assert counted == {"tick": 6}


def test_what_fails_beside_a_duty_does_not_stop_it(counted: Counter[str]) -> None:
    async def fail() -> None:
        raise ValueError

    assert asyncio.run(attempt(TICK, fail)) is False
    assert counted == {"tick": 1}


def test_items_are_done_together_or_else_all_that_can_be() -> None:
    rounds: list[list[int]] = []

    def do(items: list[int]) -> list[int]:
        rounds.append(list(items))
        if {13, 60} & set(items):
            raise ValueError(items)
        return [item * 2 for item in items]

    assert isolated(list(range(10)), do) == [item * 2 for item in range(10)]  # type: ignore[arg-type]
    assert len(rounds) == 1
    results = isolated(list(range(100)), do)  # type: ignore[arg-type]
    assert [n for n, each in enumerate(results) if isinstance(each, Failed)] == [13, 60]
    assert [each for each in results if not isinstance(each, Failed)] == [
        n * 2 for n in range(100) if n not in (13, 60)
    ]
    assert len(rounds) < 40, "they are found by halves"


@pytest.mark.parametrize("error", [Unavailable(), ConnectionError()], ids=["unavailable", "no connection"])
def test_what_is_no_items_fault_is_raised(error: Exception) -> None:
    def away(_: object) -> list[int]:
        raise error

    with pytest.raises(type(error)):
        isolated([1, 2], away)


def test_an_item_that_always_loses_its_race_stops_nobody() -> None:
    def do(items: list[int]) -> list[int]:
        if 1 in items:
            raise Busy
        return items

    first, second = isolated([1, 2], do)  # type: ignore[arg-type]
    assert isinstance(first, Failed)
    assert second == 2


def test_an_error_is_told_in_one_short_line() -> None:
    assert words_of(ValueError("no\nsuch\x00 thing")) == "ValueError: no"
    assert words_of(KeyError()) == "KeyError"
    assert len(words_of(ValueError("x" * 9999))) <= 500
    assert loops.utc_now().tzinfo is not None
