"""The init processes of an attempt: what they say is heard, and nothing of the attempt outlives them."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest
from fake_link import PATIENCE_S

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.training.channel import Channel
from gaelp_ray.training.process import Program, TrainingProcess
from tests.service import eventually


def started(folder: Path, *arguments: str) -> TrainingProcess:
    channel, theirs = Channel.pair()
    try:
        variables = {"PATH": os.defpath, "TMPDIR": str(folder)}
        return TrainingProcess(Program(arguments, variables, str(folder), data_limit_bytes=0), theirs)
    finally:
        channel.close()
        theirs.close()


def shell(folder: Path, script: str) -> TrainingProcess:
    return started(folder, "/bin/sh", "-c", script)


def finish(process: TrainingProcess) -> int | None:
    until = time.monotonic() + PATIENCE_S
    while not process.wait(0.1):
        assert time.monotonic() < until
    process.end()
    return process.status


@pytest.mark.parametrize("script", ["exit 0", "exit 3", "kill -9 $$", "kill -40 $$"])
def test_its_exit_status_is_known(tmp_path: Path, script: str) -> None:
    expected = {"exit 0": 0, "exit 3": 3, "kill -9 $$": -9, "kill -40 $$": -40}
    assert finish(shell(tmp_path, script)) == expected[script]


def test_signals_mean_to_it_what_they_usually_mean(tmp_path: Path) -> None:
    """Also where the service was started as a background job, for which a shell ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = shell(tmp_path, "kill -INT $$; sleep 600")
    finally:
        signal.signal(signal.SIGINT, before)
    assert finish(process) == -signal.SIGINT


def test_its_status_is_known_also_to_who_looks_late(tmp_path: Path) -> None:
    """Its init process has said it, and has gone, before anybody listens."""
    process = shell(tmp_path, "exit 5")
    eventually(lambda: psutil.Process(process.root).status() == psutil.STATUS_ZOMBIE)
    process._listen = lambda timeout_s, heard=process._listen: timeout_s == 0.0 and heard(0.0)  # type: ignore[method-assign,misc]
    assert process.wait(1.0)
    assert process.status == 5


def test_a_program_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No such file or directory"):
        started(tmp_path, "/no/such/program")


def test_it_holds_its_channel_and_nothing_else_of_the_service(tmp_path: Path) -> None:
    channel, theirs = Channel.pair()
    program = Program(("/bin/sleep", "600"), {"TMPDIR": str(tmp_path)}, str(tmp_path), data_limit_bytes=0)
    process = TrainingProcess(program, theirs)
    held = {int(path.name) for path in Path(f"/proc/{process.pid}/fd").iterdir()}
    process.end()
    assert held == {0, 1, 2, theirs.fileno()}
    channel.close()
    theirs.close()


def test_what_is_no_word_of_its_init_process_is_passed_over(tmp_path: Path) -> None:
    process = shell(tmp_path, "until [ -e go ]; do sleep 0.01; done; exit 3")
    ours, theirs = socket.socketpair()
    real, process._control = process._control, ours
    theirs.sendall(b'{"kind": "end"} 1 2 3\n\xff\nexit\nexit soon\nstopped x\n\n')
    assert not process.wait(0.1)
    process._control = real
    (tmp_path / "go").touch()
    assert finish(process) == 3


def test_ending_it_ends_all_that_it_left(tmp_path: Path) -> None:
    process = shell(tmp_path, "setsid sleep 600 & echo $! > pid; sleep 600")
    left = eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    process.end()
    assert not psutil.pid_exists(int(left))
    assert process.status == -signal.SIGKILL


@pytest.mark.parametrize("victim", ["outer", "inner"])
def test_when_an_init_process_is_killed_nothing_goes_on(tmp_path: Path, victim: str) -> None:
    process = shell(tmp_path, "setsid sleep 600 & echo $! > pid; sleep 600")
    left = int(eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip()))
    outer = psutil.Process(process.root)
    (inner,) = outer.children()
    (outer if victim == "outer" else inner).kill()
    finish(process)
    assert process.killed_from_outside is (victim == "outer" and process.status is None)
    eventually(lambda: not psutil.pid_exists(left), what="what it left is gone")
    eventually(lambda: not psutil.pid_exists(process.pid), what="it is gone")
