"""Reading traces: columns by name, rows that cannot be used counted by their reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.resources import Resources
from gaelp_ray.replay.trace import DAY_S, MIB, read_nodes, read_pods, runnable

SHARED = Path(os.environ.get("GAELP_SHARED", Path(__file__).parents[4] / "shared")) / "traces"
HEAD = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time"


def pods(folder: Path, *rows: str, head: str = HEAD) -> Path:
    path = folder / "pods.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def nodes(folder: Path, *rows: str) -> Path:
    path = folder / "nodes.csv"
    path.write_text("\n".join(["sn,cpu_milli,memory_mib,gpu,model", *rows]) + "\n")
    return path


def test_a_task_is_read_as_it_was(tmp_path: Path) -> None:
    trace = read_pods(pods(tmp_path, "a,4000,8192,1,460,V100|A100,LS,Running,100,700"))
    (task,) = trace.tasks
    assert (task.arrival_s, task.length_s, task.qos) == (100.0, 600.0, "LS")
    assert task.resources == Resources(4000, 8192 * MIB, 460)
    assert task.selector == (("ray.io/accelerator-type", "in(V100, A100)"),)


def test_several_gpus_are_whole_ones(tmp_path: Path) -> None:
    (task,) = read_pods(pods(tmp_path, "a,1000,1,8,1000,,BE,Running,0,1")).tasks
    assert task.resources.gpu_milli == 8000


def test_columns_are_found_by_name_in_any_order(tmp_path: Path) -> None:
    head = "deletion_time,creation_time,gpu_milli,num_gpu,memory_mib,cpu_milli,name,else"
    (task,) = read_pods(pods(tmp_path, "30,10,0,0,64,500,a,x", head=head)).tasks
    assert (task.arrival_s, task.length_s, task.resources.cpu_milli) == (10.0, 20.0, 500)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no column 'deletion_time'"):
        read_pods(pods(tmp_path, head="name,cpu_milli,memory_mib,num_gpu,gpu_milli,creation_time"))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a,x,1,0,0,,LS,Running,0,9", "a number is missing or is none"),
        ("a,1,1,0,0,,LS,Running,0,", "a number is missing or is none"),
        ("a,1,1,1,1001,,LS,Running,0,9", "a number is missing or is none"),
        ("a,1,1,1,0,,LS,Running,0,9", "a number is missing or is none"),
        ("a,-1,1,0,0,,LS,Running,0,9", "a number is missing or is none"),
        ("a,1,1,0,0,,LS,Running,9,0", "it ends before it begins"),
        ("a,1,1,0,0,,LS,Running,-5,9", "a time is below 0"),
        ("a,1,1,0,0,,LS,Running,nan,9", "a time is no time"),
        ("a,1,1,0,0,,LS,Running,0,inf", "a time is no time"),
        ("a,1,1,0,0,,LS,Running,0,1e300", "a time is no time"),
        ("b,1,1,0,0,,LS,Running,0,9", "it is there twice"),
        ("a", "a number is missing or is none"),
    ],
)
def test_a_row_that_cannot_be_used_is_counted_with_its_reason(tmp_path: Path, row: str, reason: str) -> None:
    trace = read_pods(pods(tmp_path, "b,1,1,0,0,,LS,Running,0,9", row))
    assert dict(trace.skipped) == {reason: 1}
    assert dict(trace.first) == {reason: 3}, "the line of the file"
    assert len(trace.tasks) == 1


def test_a_trace_without_rows_is_an_empty_one(tmp_path: Path) -> None:
    assert read_pods(pods(tmp_path), days=1).tasks == ()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("n,many,1,1,T4", "line 3: a node needs a name and whole numbers"),
        ("n,1,1,-1,T4", "line 3: a node needs a name and whole numbers"),
        ("n", "line 3: a node needs a name and whole numbers"),
        (",1,1,1,T4", "line 3: a node needs a name and whole numbers"),
        ("a,1,1,1,T4", "line 3: there are two nodes named 'a'"),
    ],
)
def test_a_line_that_is_no_node_is_named(tmp_path: Path, row: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        read_nodes(nodes(tmp_path, "a,1,1,8,V100", row), 1)


def test_a_cluster_without_nodes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot make up 1 GPUs; 1 are missing"):
        read_nodes(nodes(tmp_path), 1)


def test_a_task_that_names_a_gpu_that_no_node_has_is_left_out_and_counted(tmp_path: Path) -> None:
    trace = read_pods(
        pods(
            tmp_path,
            "a,1000,1,1,1000,T4,LS,Running,0,9",
            "b,1000,1,1,1000,T4 | P100,LS,Running,0,9",
            "c,1000,1,1,1000,,LS,Running,0,9",
            "d,1000,1,4,1000,P100,LS,Running,0,9",
        )
    )
    kept = runnable(trace, read_nodes(nodes(tmp_path, "n,4000,64,2,P100"), 2))
    assert len(kept.tasks) == 2
    assert dict(kept.skipped) == {"no node has a GPU that it names": 1, "no node is large enough": 1}


def test_only_the_last_days_are_read_and_arrivals_begin_at_nought(tmp_path: Path) -> None:
    end = 3 * DAY_S
    path = pods(
        tmp_path,
        f"early,1,1,0,0,,LS,Running,0,{DAY_S}",
        f"long,1,1,0,0,,LS,Running,10,{end}",
        f"late,1,1,0,0,,LS,Running,{2 * DAY_S + 50},{2 * DAY_S + 60}",
    )
    assert [(t.arrival_s, t.length_s) for t in read_pods(path, days=1).tasks] == [(50.0, 10.0)]
    carried = read_pods(path, days=1, carry_in=True).tasks
    assert [(t.arrival_s, t.length_s) for t in carried] == [(0.0, DAY_S), (50.0, 10.0)]


def test_faster_arrivals_leave_lengths_alone(tmp_path: Path) -> None:
    (task,) = read_pods(pods(tmp_path, "a,1,1,0,0,,LS,Running,100,160"), speed=4).tasks
    assert (task.arrival_s, task.length_s) == (25.0, 60.0)


def test_a_user_is_drawn_by_a_hash_that_never_changes(tmp_path: Path) -> None:
    path = pods(tmp_path, *(f"pod-{n},1,1,0,0,,LS,Running,0,9" for n in range(200)))
    users = [task.user for task in read_pods(path, users=5).tasks]
    assert users == [task.user for task in read_pods(path, users=5).tasks]
    assert set(users) == {f"user-0{n}" for n in range(5)}


def test_a_cluster_has_exactly_the_gpus_asked_for(tmp_path: Path) -> None:
    path = nodes(tmp_path, "a,1,1,2,P100", "b,1,1,8,V100", "c,1,1,4,T4", "d,1,1,8,V100")
    assert [node.id for node in read_nodes(path, 14)] == ["b", "c", "a"]
    assert [node.id for node in read_nodes(path, 22)] == ["b", "d", "c", "a"]
    with pytest.raises(InvalidInput, match="cannot make up 23 GPUs; 1 are missing"):
        read_nodes(path, 23)


def test_a_task_larger_than_any_node_is_left_out_and_counted(tmp_path: Path) -> None:
    trace = read_pods(pods(tmp_path, "a,9000,1,0,0,,LS,Running,0,9", "b,1000,1,0,0,,LS,Running,0,9"))
    kept = runnable(trace, read_nodes(nodes(tmp_path, "n,4000,64,1,T4"), 1))
    assert [task.id for task in kept.tasks] == [1]
    assert dict(kept.skipped) == {"no node is large enough": 1}


def test_the_real_trace_is_read_whole() -> None:
    path = SHARED / "openb_pod_list_default.csv"
    if not path.exists():
        pytest.skip(f"THE REAL TRACE IS ABSENT: {path} does not exist; set GAELP_SHARED")
    trace = read_pods(path, days=30)
    assert len(trace.tasks) == 7355
    assert dict(trace.skipped) == {}
    cluster = read_nodes(SHARED / "openb_node_list_gpu_node.csv", 24)
    assert sum(node.total.gpu_milli for node in cluster) == 24_000
    assert len(runnable(trace, cluster).tasks) == 7355
