"""Simulated time, on worlds small enough to work out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaelp_ray.cli.main import main
from gaelp_ray.domain.scheduling import Node, SchedulingPolicy
from gaelp_ray.replay.measures import Spread, jain, measure
from gaelp_ray.replay.policies import POLICIES, Easy, Ours, best_effort_fifo, by_name, fifo, shortest_first
from gaelp_ray.replay.simulator import STILL_S, Choice, Costs, History, Run, Simulator
from gaelp_ray.replay.trace import ACCELERATOR_LABEL, Task, read_nodes, read_pods
from tests.builders import resources
from tests.unit.replay.test_trace import SHARED

DEFAULT = Costs()
ONE = (Node("n", resources(4, 16, 4)),)


def a_task(
    number: int, arrival: float, length: float, *, gpu: float = 1, qos: str = "LS", user: str = "u"
) -> Task:
    return Task(number, user, arrival, length, resources(0.5, 1, gpu), qos)


def replay(policy: Any, *tasks: Task, nodes: tuple[Node, ...] = ONE, costs: Costs = DEFAULT) -> History:
    return Simulator(tasks, nodes, policy, costs=costs).run()


BLOCKED = (
    a_task(1, 0, 100, gpu=3),
    a_task(2, 1, 10, gpu=4),
    a_task(3, 2, 10, gpu=1),
    a_task(4, 3, 1000, gpu=1),
)


def test_without_backfill_the_head_blocks_everybody() -> None:
    waited = replay(fifo(ONE), *BLOCKED).waited_s
    assert waited == {1: 0, 2: 99, 3: 108, 4: 107}


def test_easy_lets_pass_what_is_gone_in_time_and_nothing_else() -> None:
    waited = replay(Easy(ONE), *BLOCKED).waited_s
    assert waited[3] == 0, "10 s fit before the head's time at 100 s"
    assert waited[2] == 99, "the head starts when it was promised"
    assert waited[4] >= 107, "1,000 s would have delayed it"


def test_best_effort_sets_aside_what_does_not_fit() -> None:
    waited = replay(best_effort_fifo(ONE), *BLOCKED).waited_s
    assert (waited[3], waited[4]) == (0, 9)
    assert waited[2] == 1011 - 0, "the head waits until everybody has gone"


def test_shortest_first_knows_lengths() -> None:
    tasks = (a_task(1, 0, 10, gpu=4), a_task(2, 1, 500, gpu=4), a_task(3, 2, 5, gpu=4))
    waited = replay(shortest_first(ONE), *tasks).waited_s
    assert waited == {1: 0, 3: 8, 2: 14}


def test_best_effort_work_makes_room_for_latency_sensitive_work_and_resumes() -> None:
    tasks = (a_task(1, 0, 1000, gpu=4, qos="BE"), a_task(2, 300, 50, gpu=4))
    history = replay(Ours(ONE), *tasks, costs=Costs(save_s=10, restart_s=30))
    assert history.waited_s == {1: 0, 2: 10}, "it waits while the other saves"
    assert history.completed_s[1] == 300 + 10 + 50 + 30 + 700, "nothing but the interruption is paid"
    assert history.preemptions == 1
    assert history.lost_gpu_s == 4 * 40


def test_who_does_not_save_falls_back_to_the_last_checkpoint() -> None:
    tasks = (a_task(1, 0, 1000, gpu=4, qos="BE"), a_task(2, 300, 50, gpu=4))
    costs = Costs(save_s=0, restart_s=0, saves_when_asked=False, checkpoint_every_s=200)
    assert replay(Ours(ONE), *tasks, costs=costs).completed_s[1] == 300 + 50 + 800


def test_work_that_is_about_to_end_is_let_end() -> None:
    tasks = (a_task(1, 0, 305, gpu=4, qos="BE"), a_task(2, 300, 50, gpu=4))
    history = replay(Ours(ONE), *tasks, costs=Costs(save_s=10))
    assert (history.preemptions, history.completed_s[1]) == (0, 305)


def test_measures_of_a_replay_worked_out_by_hand() -> None:
    found = measure(replay(fifo(ONE), a_task(1, 0, 100, gpu=4), a_task(2, 50, 100, gpu=2)))
    assert (found.wait_s.mean, found.completion_s.mean) == (25.0, 125.0)
    assert found.gpu_allocation == 1.0, "until the last arrival at 50 s all four are in use"
    assert found.fragmentation == 0.0
    assert found.wait_by_qos_s["LS"].most == 50.0


def test_free_gpus_beside_waiting_work_are_fragmentation() -> None:
    tasks = (a_task(1, 0, 100, gpu=3), a_task(2, 0, 10, gpu=2), a_task(3, 100, 1, gpu=1))
    assert measure(replay(fifo(ONE), *tasks)).fragmentation == pytest.approx(0.25)


@pytest.mark.parametrize(("values", "index"), [([1, 1, 1], 1.0), ([1, 0, 0, 0], 0.25), ([], 1.0)])
def test_jains_index(values: list[float], index: float) -> None:
    assert jain(values) == index


def test_a_spread_of_nothing_is_nought() -> None:
    assert Spread.of([]) == Spread(0, 0, 0, 0, 0)


some_tasks = st.lists(
    st.tuples(
        st.integers(0, 500),
        st.integers(1, 900),
        st.sampled_from([0.3, 0.5, 1, 2, 4]),
        st.sampled_from(["LS", "BE", "Burstable", "Guaranteed"]),
    ),
    min_size=1,
    max_size=15,
).map(
    lambda rows: [a_task(n, at, length, gpu=gpu, qos=qos) for n, (at, length, gpu, qos) in enumerate(rows, 1)]
)


@given(some_tasks, st.sampled_from(POLICIES))
@settings(max_examples=60)
def test_every_task_ends_and_none_before_it_has_done_its_work(tasks: list[Task], name: str) -> None:
    policy: Callable[..., Any] = by_name
    history = replay(policy(name, ONE, SchedulingPolicy()), *tasks)
    assert set(history.completed_s) == {task.id for task in tasks}
    for task in tasks:
        assert history.completed_s[task.id] >= history.waited_s[task.id] + task.length_s
    assert all(used <= 4 for _, used, _ in history.use)


NEVER = Task(9, "u", 0, 10, resources(0.5, 1, 1), "LS", ((ACCELERATOR_LABEL, "in(T4)"),))


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("nodes", [ONE, ()], ids=["a node of another kind", "no node at all"])
def test_what_no_node_can_hold_is_counted_and_keeps_nobody_waiting(
    name: str, nodes: tuple[Node, ...]
) -> None:
    history = replay(by_name(name, nodes, SchedulingPolicy()), NEVER, a_task(1, 5, 100), nodes=nodes)
    found = measure(history)
    assert found.never == 2 - len(nodes)
    assert (found.tasks, found.unfinished) == (len(nodes), 0)
    assert found.wait_s.most == 0.0
    assert set(history.completed_s) == ({1} if nodes else set())


@pytest.mark.parametrize("name", POLICIES)
def test_a_replay_of_nothing_ends_at_once(name: str) -> None:
    found = measure(replay(by_name(name, ONE, SchedulingPolicy())))
    assert (found.tasks, found.never, found.decisions, found.fairness) == (0, 0, 0, 1.0)


class Idle:
    """A policy that starts nothing, and always thinks that time may change its mind."""

    name = "idle"
    ticks = True

    def arrived(self, task: Task, now_s: float, *, preempted: int) -> None:
        pass

    def ended(self, run: Run, now_s: float) -> None:
        pass

    def decide(self, running: Sequence[Run], now_s: float) -> Choice:
        return Choice()


def test_a_policy_that_starts_nothing_is_not_asked_for_ever() -> None:
    history = replay(Idle(), a_task(1, 0, 10))
    found = measure(history)
    assert (found.tasks, found.unfinished, found.completion_s.most) == (1, 1, 0.0)
    assert found.decisions <= STILL_S / 60 + 2


def test_a_replay_tells_how_far_it_is() -> None:
    told: list[int] = []
    Simulator([a_task(n, n, 5) for n in range(1, 6)], ONE, fifo(ONE)).run(told.append)
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0, 5)


def test_a_third_of_the_real_trace_names_a_gpu_and_the_replay_ends() -> None:
    path = SHARED / "openb_pod_list_default.csv"
    if not path.exists():
        pytest.skip(f"THE REAL TRACE IS ABSENT: {path} does not exist; set GAELP_SHARED")
    cluster = read_nodes(SHARED / "openb_node_list_gpu_node.csv", 32)
    named = ((ACCELERATOR_LABEL, "in(T4)"),)
    assert not any(node.labels == {ACCELERATOR_LABEL: "T4"} for node in cluster)
    tasks = [
        replace(task, selector=named) if task.id % 3 == 0 else task for task in read_pods(path, days=2).tasks
    ]
    for name in ("gaelp", "fifo"):
        found = measure(replay(by_name(name, cluster, SchedulingPolicy()), *tasks, nodes=cluster))
        assert (found.never, found.unfinished) == (len(tasks) // 3, 0)


def test_the_command_says_what_can_never_run_and_where_nothing_is_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pods, nodes = tmp_path / "pods.csv", tmp_path / "nodes.csv"
    pods.write_text(
        "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,creation_time,deletion_time\n"
        "b,1000,64,1,1000,T4,LS,10,200\n"
    )
    nodes.write_text("sn,cpu_milli,memory_mib,gpu,model\nn,4000,1024,2,P100\n")
    arguments = ["replay", "--pods", str(pods), "--nodes", str(nodes), "--gpus", "2"]
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--plot", str(tmp_path / "plot.png")])
    shown = capsys.readouterr()
    assert "1 rows of pods.csv were left out: no node has a GPU that it names." in shown.out
    assert "0 tasks on 1 nodes with 2 GPUs." in shown.out
    assert left.value.code == 1
    assert "nothing to draw" in shown.err


def test_the_command_prints_compares_and_writes_every_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pods, nodes, out, plot = (tmp_path / name for name in ("pods.csv", "nodes.csv", "out.json", "plot.png"))
    pods.write_text(
        "name,cpu_milli,memory_mib,num_gpu,gpu_milli,qos,creation_time,deletion_time\n"
        "a,1000,64,1,1000,LS,0,100\nb,1000,64,1,1000,BE,10,60\nbroken,x,64,1,1000,BE,10,60\n"
    )
    nodes.write_text("sn,cpu_milli,memory_mib,gpu,model\nn,4000,1024,1,T4\n")
    arguments = ["replay", "--pods", pods, "--nodes", nodes, "--gpus", "1", "--json", out, "--plot", plot]
    with pytest.raises(SystemExit) as left:
        main([*map(str, arguments), "--policy", "gaelp", "--policy", "fifo"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert "1 rows of pods.csv were left out: a number is missing or is none." in shown
    assert "2 tasks on 1 nodes with 1 GPUs." in shown
    written = json.loads(out.read_text())
    assert [row["policy"] for row in written["policies"]] == ["gaelp", "fifo"]
    assert written["policies"][1]["wait_s"]["most"] == 90.0
    assert plot.read_bytes().startswith(b"\x89PNG")
