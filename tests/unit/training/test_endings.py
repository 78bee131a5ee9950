"""A table of ways to end: each is the right outcome, can be stored, and leaves nothing behind."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest
from fake_link import WORKDIR, Attempt, FakeLink

from gaelp_ray.domain.attempts import Directive, Outcome
from gaelp_ray.domain.endings import storable
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.domain.resources import Resources
from gaelp_ray.training import process, supervisor
from gaelp_ray.training.supervisor import Workplace
from tests.builders import GIB, an_order

DONE = {"answer": 42}
SUCCESS, USER_ERROR, MISCONFIGURED = EndCause.SUCCESS, EndCause.USER_ERROR, EndCause.MISCONFIGURED
KILLED = "died of SIGKILL"
CUT = "still running 0.6 s after its entry point had returned"


@dataclass(frozen=True)
class Way:
    """An entry point, and what becomes of it."""

    entrypoint: str
    cause: EndCause
    #: Of the message.
    words: str = ""
    result: Any = None
    exit_code: int | None = None
    #: One for each notice, in order.
    notices: tuple[str, ...] = ()
    #: In the log.
    logged: str = ""
    given: dict[str, Any] = field(default_factory=dict)
    order: dict[str, Any] = field(default_factory=dict)
    #: For threads and exit handlers.
    grace_s: float = 30.0
    #: It is told to stop once it runs.
    stop: EndCause | None = None


def done(name: str, *notices: str, **fields: Any) -> Way:
    return Way(f"endings:{name}", SUCCESS, notices=notices, **{"result": DONE} | fields)


def fails(name: str, words: str, **fields: Any) -> Way:
    return Way(f"endings:{name}", fields.pop("cause", USER_ERROR), words, **fields)


def says(words: str, **message: Any) -> Way:
    return fails("say", words, given={"message": message}, logged="broke the protocol")


def gives(what: str, result: Any, *notices: str) -> Way:
    return Way("endings:give", SUCCESS, result=result, notices=notices, given={"what": what})


def reports(what: str, words: str) -> Way:
    return fails("report", words, given={"what": what}, logged="InvalidInput")


def environment(words: str, **variables: str) -> Way:
    exit_code = 1 if words == NO_PYTHON else None
    return Way(
        "jobs:succeed", MISCONFIGURED, words, exit_code=exit_code, order={"environment_vars": variables}
    )


NO_PYTHON = "Python could not start with the job's environment"
NO_NAME = {"A=B": "c"}
NO_MESSAGE = "what is no message"
WAYS: dict[str, Way] = {
    # What it says on the channel.
    "says garbage": fails("say_garbage", NO_MESSAGE),
    "says a line without end": fails("say_without_end", "longer than"),
    "says something endlessly nested": fails("say_deep", NO_MESSAGE),
    "says a list": fails("say", "JSON object, not list", given={"message": [1]}),
    "says what is no kind": says("no message of the kind", kind="dance"),
    "says a list as kind": says("no message of the kind", kind=["end"]),
    "says a result that is none": says(
        "A result is an object", kind="end", cause="success", result="notadict"
    ),
    "claims a preemption": says("one of", kind="end", cause="preempted"),
    "claims a lost node": says("one of", kind="end", cause="node_lost"),
    "claims to be superseded": says("one of", kind="end", cause="superseded"),
    "claims a cause of lists": says("one of", kind="end", cause=["success"]),
    "claims words that are none": says("text", kind="end", cause="user_error", message={"a": 1}),
    "claims an exit code of text": says("whole number", kind="end", cause="user_error", exit_code="1"),
    "claims an empty budget": fails(
        "say",
        "none left",
        given={"message": {"kind": "end", "cause": "budget", "message": "none left"}},
        grace_s=0.6,
    ),
    "reports by hand half a step": says("`step` must be", kind="report", metrics={"a": 1}, step=2.5),
    "reports by hand no step": says("`step` must be", kind="report", metrics={"a": 1}),
    "reports by hand text": says("'a' must be a number", kind="report", metrics={"a": "x"}, step=1),
    "reports by hand a list": says("must map names", kind="report", metrics=[1], step=1),
    "reports by hand a folder that is none": says(
        "must be text", kind="report", metrics={}, step=1, checkpoint=5
    ),
    "dies in a fork that was writing": done("say_half_and_go"),
    # How it leaves.
    "exits with 2**31": fails("leave_with_much", "exited with 2147483648", exit_code=1, given={"power": 31}),
    "exits with 10**300": fails(
        "leave_with_much", "exited with 1071508607186267320948", exit_code=1, given={"power": 1000}
    ),
    "exits with 256": fails("leave", "exited with 256", exit_code=1, given={"code": 256}),
    "exits with -1": fails("leave", "exited with -1", exit_code=255, given={"code": -1}),
    "exits with true": fails("leave", "exited with True", exit_code=1, given={"code": True}),
    "exits with 0.0": fails("leave_with_zero_float", "exited with 0.0", exit_code=1),
    "exits with words": fails("leave", "exited with 'no'", exit_code=1, given={"code": "no"}, logged="no"),
    "exits with what has no text": fails("leave_oddly", "exited with a Odd", exit_code=1),
    "exits well": Way("endings:leave", SUCCESS, result={}, given={"code": 0}),
    "leaves at once": fails("vanish", "left with exit code 3 before", exit_code=3, given={"code": 3}),
    "leaves at once but well": fails("vanish", "exit code 0 before", exit_code=0, given={"code": 0}),
    "is a script that leaves at once but well": Way("python leaves.py 0", SUCCESS, result={}),
    "is a script that leaves at once": Way(
        "python leaves.py 4", USER_ERROR, "left with exit code 4 before", exit_code=4
    ),
    "dies of a real-time signal": fails("die_of", "SIGRTMIN+6", exit_code=-40, given={"signal": 40}),
    "dies of the last signal": fails("die_of", "SIGRTMAX", exit_code=-64, given={"signal": 64}),
    "dies of SIGTERM": fails("die_of", "SIGTERM", exit_code=-15, given={"signal": 15}),
    "aborts": fails("abort", "SIGABRT", exit_code=-6),
    "crashes": fails("crash", "SIGSEGV", exit_code=-11),
    "interrupts itself": fails("interrupt", "KeyboardInterrupt"),
    "ends its own group": fails("kill_group", "SIGTERM", exit_code=-15),
    "becomes another program": fails("become_true", "exit code 0 before", exit_code=0),
    "becomes another program that fails": fails("become_false", "exit code 1 before", exit_code=1),
    "recurses for ever": fails("recurse", "RecursionError"),
    # Errors.
    "raises what has no text": fails("raise_hostile", "Hostile: <Hostile that has no text>"),
    "raises a megabyte": fails("raise_long", "ValueError: xxx"),
    "raises half a character": fails("raise_surrogate", "half ? and NUL \ufffd"),
    "raises a group": fails("raise_group", "ExceptionGroup: two", logged="TypeError: b"),
    "raises what is no Exception": fails("raise_base", "GeneratorExit: stop"),
    "raises with stderr closed": fails("raise_with_stderr_closed", "nobody sees the traceback"),
    "raises under a broken hook": fails("hook", "the real reason", logged="the real reason"),
    "raises what hides its name": fails("raise_nameless", "Nameless: the real reason"),
    "raises in a folder that is gone": fails(
        "open_in_a_lost_folder", "(it was removed)", cause=MISCONFIGURED, logged="FileNotFoundError"
    ),
    "exits while it is imported": Way("leaves_at_import:run", USER_ERROR, "'no data here'", exit_code=1),
    "is interrupted while it is imported": Way("interrupts_at_import:run", USER_ERROR, "KeyboardInterrupt"),
    "is asynchronous": fails("asynchronous", "has not run", cause=MISCONFIGURED),
    "is a generator": fails("generate", "has not run", cause=MISCONFIGURED),
    # Streams and descriptors.
    "closes stdout": done("close_stdout"),
    "closes its streams": done("close_streams"),
    "closes 0, 1 and 2": done("close_descriptors", logged="said before"),
    "has no streams": done("lose_streams"),
    "has a broken stdout": done("replace_stdout", "left with exit code 120"),
    "closes every descriptor": done("close_all"),
    "closes every descriptor, and reports": fails(
        "close_all_and_report", "connection to the service, was closed"
    ),
    "closes every descriptor, and opens files": done("close_all_and_open", result={"written": 0}),
    "closes every descriptor, and fails": fails("close_all_and_fail", "with the channel closed"),
    # Forks, and what is left behind.
    "forks a process that exits": done("fork_that_exits"),
    "forks a process that fails": done(
        "fork_that_fails", result={"status": 1}, logged="ValueError: of the fork"
    ),
    "forks a process that returns": done("fork_that_returns"),
    "forks a process that claims the end": done(
        "fork_that_claims_the_end", logged="was not started by the service"
    ),
    "forks a process that goes on": done("fork_that_goes_on"),
    "leaves a session behind": done("fork_in_a_session_of_its_own"),
    "leaves a daemon behind": done("daemon"),
    "is killed by its own daemon": Way(
        "endings:daemon_that_kills_its_parent", EndCause.NODE_LOST, "killed from outside", exit_code=-9
    ),
    "kills its parent": fails("kill_parent", "The parent of the training process was killed"),
    "terminates its parent": fails("terminate_parent", "The parent of the training process was killed"),
    "stops its parent": done("stop_parent", CUT, grace_s=0.6),
    "stops itself, and is cancelled": Way(
        "endings:stop_itself",
        EndCause.CANCELLED,
        "Stopped as ordered",
        logged="was stopped by SIGSTOP",
        stop=EndCause.CANCELLED,
    ),
    "stops itself, and its time runs out": Way(
        "endings:stop_itself", EndCause.TIMEOUT, "limit of 1 s", order={"timeout_s": 1.0}
    ),
    # Its last seconds.
    "has exit handlers": done("run_handlers", logged="handler done"),
    "saves in an exit handler": done("save_at_exit"),
    "fails in an exit handler": done("fail_in_handler", logged="the handler fails"),
    "exits in an exit handler": done("exit_in_handler", "left with exit code 7"),
    "crashes in an exit handler": done("crash_in_handler", "died of SIGSEGV"),
    "hangs in an exit handler": done("hang_in_handler", CUT, logged="still running 0.6 s after", grace_s=0.6),
    "resists in an exit handler": done("resist_in_handler", CUT, grace_s=0.6),
    "says garbage in an exit handler": done("garbage_in_handler"),
    "leaves a thread": done("leave_a_thread", logged="thread done"),
    "leaves an endless thread": done("leave_an_endless_thread", CUT, grace_s=0.6),
    "leaves an executor at work": done("leave_an_executor", logged="executor done"),
    "leaves a process at work": done("leave_a_process", logged="process done"),
    "leaves a pool": done("leave_a_pool", result={"sum": 9}),
    "leaves text unwritten": done("leave_text_unwritten", logged="buffered text"),
    "fails in __del__": done("delete_noisily"),
    "fails, and has exit handlers": fails("fail_with_a_handler", "on purpose", logged="handler done"),
    # What it returns.
    "returns a tuple as key": gives("a tuple as key", {"(1, 2)": "x"}, "Keys of a result are text"),
    "returns numbers as keys": gives(
        "numbers as keys", {"1": "text", "None": 0}, "Keys of a result are text", "Several keys", "Keys"
    ),
    "returns half characters": gives("NUL and half characters", {"a\ufffd": "b\ufffd", "?": "?"}),
    "returns huge numbers": gives(
        "huge numbers",
        {"big": str(10**30), "huge": "<whole number of 16610 bits>", "fits": 2**63 - 1},
        "more than 64 bits",
    ),
    "returns NaN": gives("NaN", {"loss": None}),
    "returns itself": gives("itself", {"a": 1, "self": "<itself>"}, "holds itself"),
    "returns depth": gives("depth", None, "nested more than 50 deep"),
    "returns objects": gives(
        "objects",
        {"color": "Color.RED", "point": "Point(x=1)", "path": "/x", "bytes": "b'\\xff'", "set": [1]},
    ),
    "returns hostile objects": gives("hostile objects", {"odd": "<Unlistable that has no text>"}, "cannot"),
    "returns a hostile mapping": gives("a hostile mapping", {}, "cannot be read"),
    "returns what hides its class": gives(
        "what hides its class",
        dict.fromkeys(("alone", "key"), "<Hidden that has no text>") | {"int": 3, "float": 0.5, "k": 1},
        "cannot be read",
    ),
    "returns only what hides its class": gives("only what hides its class", None, "not Hidden", "cannot"),
    "returns a mapping of odd items": gives("odd items", {"m": "{}"}, "cannot be read"),
    "returns lists of each other": gives("endless lists", None, "nested more than 50"),
    "returns shared lists": gives("shared lists", {"small": 1}, "more than 500,000 values"),
    "returns many shared lists": gives(
        "many shared lists", {}, "more than", "more than", "more than", "more than", "more than"
    ),
    "returns a list": gives("a list", {"returned": [1, 2]}, "returns a dict or None, not list"),
    "returns text": gives("text", {"returned": "fine"}, "returns a dict or None, not str"),
    "returns far too much": gives("far too much", {"small": 1}, "'weights' was left out"),
    "returns a long key": gives("a long key", {"k" * 199 + "…": 1}, "cut to 200 characters"),
    # What it reports.
    "reports 20,000 names": reports("20,000 names", "at most 200 values; got 20000"),
    "reports text": reports("text", "'loss' must be a number; got '0.5'"),
    "reports an endless number": reports(
        "an endless number", "'loss' must be a number; got a whole number of"
    ),
    "reports half a step": reports("half a step", "`step` must be"),
    "reports a truth as step": reports("a truth as step", "`step` must be"),
    "reports a list": reports("a list", "`metrics` must map names to numbers"),
    # Where, and with what, it should run.
    "has a folder that is not there": Way(
        "jobs:succeed",
        MISCONFIGURED,
        "'/no/such/folder' is no folder",
        order={"working_dir": "/no/such/folder"},
    ),
    "has a folder with a long name": Way(
        "jobs:succeed", MISCONFIGURED, "is no folder on the node", order={"working_dir": "/" + "x" * 300}
    ),
    "has a folder with a NUL": Way(
        "jobs:succeed", MISCONFIGURED, "is no folder on the node", order={"working_dir": "/a\x00b"}
    ),
    "has a file as folder": Way(
        "jobs:succeed", MISCONFIGURED, "is no folder", order={"working_dir": f"{WORKDIR}/jobs.py"}
    ),
    "has a variable with a NUL": environment("'A' cannot be set", A="a\x00b"),
    "has a variable with half a character": environment("must be text", A="\ud800"),
    "has too large variables": environment("Argument list too long", A="x" * 200_000),
    "has a variable with a name that is none": environment("'A=B' cannot be set", **NO_NAME),
    "has a hash seed that is none": environment(NO_PYTHON, PYTHONHASHSEED="bogus"),
    "has an encoding that is none": environment(NO_PYTHON, PYTHONIOENCODING="nope"),
    "has an allocator that is none": environment(NO_PYTHON, PYTHONMALLOC="nope"),
    "would wait for commands": done("close_stdout", order={"environment_vars": {"PYTHONINSPECT": "1"}}),
    "has no PATH": Way(
        "endings:give",
        SUCCESS,
        result={"loss": None},
        given={"what": "NaN"},
        order={"environment_vars": {"PATH": "/nowhere", "HOME": "/nowhere", "LANG": "xx_XX"}},
    ),
}


@dataclass(frozen=True)
class Ended:
    outcome: Outcome
    link: FakeLink


Endings = Callable[[str], Ended]


@pytest.fixture(scope="module")
def endings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endings]:
    """The end of each way. Several run at once: most of their time they wait."""
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(3) as pool:
        for name in ("BEAT_S", "FLUSH_S", "MEMORY_SAMPLE_S"):
            patch.setattr(supervisor, name, 0.02)
        patch.setattr(supervisor, "TERM_S", 0.5)
        patch.setattr(process, "SWEEP_S", 1.0)
        run = functools.partial(_run, tmp_path_factory)
        futures: dict[str, Future[Ended]] = {}

        def ended(name: str) -> Ended:
            if name not in futures:
                position = list(WAYS).index(name)
                futures.update(
                    {
                        each: pool.submit(run, each)
                        for each in list(WAYS)[position : position + 4]
                        if each not in futures
                    }
                )
            return futures[name].result()

        yield ended


def _run(folders: pytest.TempPathFactory, name: str) -> Ended:
    way, link, scratch = WAYS[name], FakeLink(), folders.mktemp("scratch")
    place = Workplace(str(folders.mktemp("storage")), scratch, 1_000_000, {}, exit_grace_s=way.grace_s)
    fields: dict[str, Any] = {
        "working_dir": WORKDIR,
        "hyperparameters": way.given,
        "stop_grace_s": 0.2,
        "resources": Resources(cpu_milli=1000, memory_bytes=2 * GIB),
    }
    attempt = Attempt(an_order(way.entrypoint, **fields | way.order), link, place)
    if way.stop is not None:
        link.wait_for("pid")
        link.directive = Directive(way.stop)
    return Ended(attempt.outcome(), link)


@pytest.mark.parametrize("name", WAYS)
def test_a_job_that(endings: Endings, name: str) -> None:
    way, ended = WAYS[name], endings(name)
    outcome = ended.outcome
    assert outcome.cause is way.cause, outcome
    assert way.words in outcome.message
    assert (outcome.message == "") is (way.words == "")
    assert outcome.exit_code == way.exit_code
    assert way.logged in ended.link.output
    if way.result is not None:
        assert outcome.result == way.result
    assert len(outcome.notices) == len(way.notices), outcome.notices
    for words, notice in zip(way.notices, outcome.notices, strict=True):
        assert words in notice
    assert storable(outcome) == outcome, "it can be stored as it is"
    for pid in ended.link.values("pid"):
        assert not psutil.pid_exists(int(pid)), "nothing of it goes on"


def test_the_table_has_the_ways_that_matter() -> None:
    assert len(WAYS) >= 60


def test_what_an_exit_handler_reports_and_saves_is_kept(endings: Endings) -> None:
    saved = endings("saves in an exit handler").link
    assert [step for step, _, _ in saved.saved] == [9]
    assert endings("has exit handlers").link.values("at_exit") == [1.0]


def test_the_owner_is_told_of_a_process_that_stopped_itself(endings: Endings) -> None:
    words = endings("stops itself, and is cancelled").link.words
    assert words == [
        f"The training process was stopped by {signal.SIGSTOP.name}; it goes on after a SIGCONT."
    ]
