"""Runs one attempt: starts the training process, carries its messages, enforces its limits, tells its end.

The process is a child of its own so that its end is known for certain: an exit code or a signal, not a guess.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from gaelp_ray.domain.attempts import Directive, LaunchOrder, Outcome
from gaelp_ray.domain.checkpoints import address_of, folder_of
from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.gangs import Member, environment
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.domain.ledger import Money
from gaelp_ray.domain.metrics import MetricPoint
from gaelp_ray.training import checkpoints, start
from gaelp_ray.training.capture import Capture
from gaelp_ray.training.channel import FD_VARIABLE, Channel
from gaelp_ray.training.contents import Grounds
from gaelp_ray.training.gpus import Sampler, unknown
from gaelp_ray.training.idleness import NEVER, IdlePolicy, IdleWatch
from gaelp_ray.training.link import Link
from gaelp_ray.training.packages import Installation
from gaelp_ray.training.platforms import registry
from gaelp_ray.training.platforms.desk import Desk
from gaelp_ray.training.preparation import Ended, Preparation
from gaelp_ray.training.redaction import Redactor
from gaelp_ray.training.till import Till

#: How often metrics and logs are handed on; well under the second that "live" means.
FLUSH_S = 0.1
BEAT_S = 1.0
MEMORY_SAMPLE_S = 0.25
GPU_SAMPLE_S = 10.0
#: How often the ad platform of a job is asked for its reports.
POLL_S = 0.5
#: After SIGTERM a process has this long before SIGKILL.
TERM_S = 2.0
#: Of one attempt, and their length.
MOST_NOTICES, MAX_NOTICE = 10, 500
#: What a process may still write after its end was known.
DRAIN_S = 5.0

#: Never handed down: the service's own settings, credentials and the cluster's tokens.
#: So are those that steer installers: they may hold the password of a package index.
_WITHHELD = ("GAELP_", "RAY_", "REDIS_", "PIP_", "UV_")


@dataclass(frozen=True)
class Workplace:
    """Where an attempt runs."""

    storage_uri: str
    #: Local folder for checkpoints that are being restored.
    scratch: Path
    log_limit_bytes: int
    secrets: Mapping[str, str]
    #: Which worker of the attempt this is.
    rank: int = 0
    idle: IdlePolicy = NEVER
    #: How busy its GPUs are.
    gpu_use: Sampler = unknown
    #: How packages are installed; None: into the scratch folder.
    installation: Installation | None = None
    #: The service's own folders, from which nothing is kept as a checkpoint.
    private: Sequence[Path] = ()


class Supervisor:
    """One attempt, from its claim to its outcome."""

    def __init__(self, order: LaunchOrder, link: Link, workplace: Workplace) -> None:
        self._order = order
        self._link = link
        self._place = workplace
        self._members: Sequence[Member] = ()
        self._idle = IdleWatch(workplace.idle)
        self._ending: Outcome | None = None
        self._stop: EndCause | None = None
        self._stop_words = self._adapter_words = ""
        self._kill_at: float | None = None
        self._points: list[MetricPoint] = []
        self._lock = threading.Lock()
        #: The process has ended; and then, all that it left has been taken in.
        self._gone = threading.Event()
        self._over = threading.Event()
        self._peak_memory = 0
        self._last_step = self._notices = 0
        self._saves: Counter[int] = Counter()

    def run(self) -> Outcome | None:
        """Run the attempt and report its outcome; None when another process had claimed it."""
        resume = self._order.resume_from
        members = self._link.claim(resume.step if resume else None)
        if members is None:
            return None
        self._members = members
        with ExitStack() as held:
            try:
                self._make_ready(held)
                self._desk = self._open_desk()
                outcome = self._supervise()
            except Ended as end:
                outcome = end.outcome
            except InvalidInput as error:
                outcome = Outcome(EndCause.MISCONFIGURED, error.message)
        outcome = replace(outcome, peak_memory_bytes=self._peak_memory or None)
        self._link.finish(outcome)
        return outcome

    def _make_ready(self, held: ExitStack) -> None:
        """Packages, code and checkpoints; ``Ended`` where the attempt ends without a process."""
        order, place = self._order, self._place
        preparation = Preparation(
            self._link,
            Redactor(place.secrets.values()),
            prefix=self._log_prefix(),
            left_s=order.left_s,
            log_bytes=place.log_limit_bytes // len(self._members),
        )
        installation = place.installation or Installation(place.scratch / "environments")
        here = start.Place(place.storage_uri, place.scratch, installation)
        self._start = preparation.run(
            lambda: start.make_ready(order, here, self._link, preparation, held, first=place.rank == 0)
        )
        self._logged = preparation.logged
        self._order = order.prepared_in(preparation.took_s)
        self._grounds = Grounds(place.scratch, self._start.code, place.private)
        held.callback(self._grounds.close)

    def _log_prefix(self) -> str:
        return f"[rank {self._place.rank}] " if len(self._members) > 1 else ""

    def _supervise(self) -> Outcome:
        start_message = self._start_message()
        process, self._channel = self._spawn()
        assert process.stdout is not None
        self._capture = Capture(
            process.stdout,
            redactor=Redactor(self._place.secrets.values()),
            limit_bytes=self._place.log_limit_bytes // len(self._members),
            prefix=self._log_prefix(),
            start_byte=self._logged,
        )
        self._channel.send(start_message)
        self._till = Till(
            self._link,
            rank=self._place.rank,
            desk=self._desk,
            stop=self._out_of_money,
            is_stopping=lambda: self._stop is not None,
        )
        listener = threading.Thread(target=self._listen, daemon=True)
        listener.start()
        shipper = threading.Thread(target=self._ship_logs, daemon=True)
        shipper.start()
        clerk = threading.Thread(target=self._carry_reports, daemon=True)
        clerk.start()
        try:
            self._watch(process)
        finally:
            _kill_group(process.pid, signal.SIGKILL)
            process.wait()
            self._gone.set()
            if self._desk is not None:
                self._desk.abandon()
            listener.join(DRAIN_S)
            self._channel.close()
        clerk.join()
        self._settle_up()
        self._capture.finish(DRAIN_S)
        self._over.set()
        shipper.join()
        self._flush()
        self._capture.flush(self._link.log)
        return self._outcome(process.returncode)

    def _ship_logs(self) -> None:
        """On a thread of its own: a log that waits for the database must not hold up the limits."""
        while not self._over.wait(FLUSH_S):
            self._capture.flush(self._link.log)

    def _open_desk(self) -> Desk | None:
        """For a job that spends real money; raises ``InvalidInput`` where its platform cannot be used."""
        order = self._order
        if order.money is not Money.REAL or self._place.rank != 0:
            return None
        folder = f"{self._place.storage_uri.rstrip('/')}/platforms"
        site = registry.Site(job_id=order.job_id, seed=order.seed, folder_uri=folder)
        platform = registry.make(order.config, site)
        desk = Desk(self._link, platform, job_id=order.job_id, agent_id=order.agent_id)
        desk.open()
        return desk

    def _carry_reports(self) -> None:
        """On a thread of its own: what was spent is booked whatever the process does meanwhile."""
        while self._desk is not None and not self._gone.wait(POLL_S):
            self._at_platform(self._desk.poll)

    def _settle_up(self) -> None:
        """The process is gone: nothing more is spent in its name, and what it had spent is told."""
        self._till.close()
        if self._desk is not None:
            self._at_platform(self._desk.close)

    def _at_platform(self, errand: Callable[[], None]) -> None:
        """What an adapter fails with is told in the log, once; the next errand may do better."""
        try:
            errand()
        except Exception as error:
            words = f"the platform's adapter failed: {type(error).__name__}: {error}"
            if words != self._adapter_words:
                self._capture.write(words)
            self._adapter_words = words

    def _out_of_money(self, words: str) -> None:
        self._order_stop(EndCause.BUDGET, self._order.stop_grace_s, words)

    def _spawn(self) -> tuple[subprocess.Popen[bytes], Channel]:
        channel, theirs = Channel.pair()
        try:
            process = subprocess.Popen(
                [self._start.packages.python, "-u", "-m", "gaelp_ray.training.child"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self._start.code or self._place.scratch,
                env=self._environment(theirs),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        finally:
            theirs.close()
        _limit_burst(process.pid, self._order.resources.memory_bytes)
        return process, channel

    def _environment(self, channel: socket.socket) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(_WITHHELD)}
        threads = str(max(1, self._order.resources.cpu_milli // 1000))
        numeric = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
        packages, code = self._start.packages, self._start.code
        paths = [str(p) for p in (code, *packages.paths) if p]
        own = {FD_VARIABLE: str(channel.fileno()), "PYTHONPATH": os.pathsep.join(paths)}
        if packages.programs is not None:
            kept["PATH"] = os.pathsep.join([packages.programs, kept.get("PATH", os.defpath)])
        own["TMPDIR"] = str(self._place.scratch)
        if len(self._members) > 1:
            own |= environment(self._members, self._place.rank)
        return kept | numeric | dict(self._order.environment_vars) | dict(self._place.secrets) | own

    def _start_message(self) -> dict[str, Any]:
        order = self._order
        config = dict(order.config)
        if self._start.input is not None:
            config["checkpoint_dir"] = str(self._start.input.path)
        resumed = self._start.resume
        return {
            "entrypoint": order.entrypoint,
            "job_id": order.job_id,
            "agent_id": order.agent_id,
            "attempt": order.number,
            "config": config,
            "hyperparameters": dict(order.hyperparameters),
            "seed": order.seed,
            "rank": self._place.rank,
            "peers": [member.address for member in self._members],
            "reward_clips": [asdict(rule) for rule in order.reward_clips],
            "checkpoint": resumed
            and {"path": str(resumed.path), "step": resumed.step, "metrics": resumed.metrics},
        }

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Until the process has ended: pass on output, show life, and hold it to its limits."""
        started = time.monotonic()
        next_beat = next_sample = 0.0
        next_gpu_sample = started + GPU_SAMPLE_S
        while process.poll() is None and self._ending is None:
            now = time.monotonic()
            if now >= next_sample:
                self._check_memory(process.pid)
                next_sample = now + MEMORY_SAMPLE_S
            if now >= next_beat:
                self._obey(self._link.beat())
                next_beat = now + BEAT_S
            if now >= next_gpu_sample:
                self._check_gpus(now)
                next_gpu_sample = now + GPU_SAMPLE_S
            if self._order.timeout_s is not None and now - started > self._order.timeout_s:
                self._order_stop(self._order.timeout_cause, 0.0)
            self._enforce_stop(process, now)
            self._flush()
            self._wait(process)
        if self._ending is not None:
            _wait_for_exit(process, TERM_S)

    @staticmethod
    def _wait(process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(FLUSH_S)

    def _obey(self, directive: Directive) -> None:
        if directive.stop is not None:
            self._order_stop(directive.stop, self._order.stop_grace_s, directive.message)

    def _order_stop(self, cause: EndCause, grace_s: float, words: str = "") -> None:
        """Ask the process to stop; the first cause is the one that counts."""
        with self._lock:
            if self._stop is not None:
                return
            self._stop, self._stop_words = cause, words
            self._kill_at = time.monotonic() + grace_s
        self._capture.write(f"told to stop: {cause}")
        self._tell({"kind": "stop", "cause": cause})

    def _enforce_stop(self, process: subprocess.Popen[bytes], now: float) -> None:
        if self._kill_at is None or now < self._kill_at:
            return
        _kill_group(process.pid, signal.SIGTERM)
        if not _wait_for_exit(process, TERM_S):
            _kill_group(process.pid, signal.SIGKILL)

    def _check_memory(self, pid: int) -> None:
        used = _memory_of_tree(pid)
        self._peak_memory = max(self._peak_memory, used)
        limit = self._order.resources.memory_bytes
        if used > limit:
            self._ending = Outcome(
                EndCause.OOM,
                f"The job used {used / 1024**2:.0f} MiB, more than the {limit / 1024**2:.0f} MiB it asked "
                f"for. Raise `resource_requirements.memory`.",
            )
            _kill_group(pid, signal.SIGKILL)

    def _check_gpus(self, now: float) -> None:
        idle = self._idle.see(self._place.gpu_use(), now)
        if idle is None:
            return
        words = f"The job's GPUs have been idle for {idle.for_s / 60:.0f} min." if idle.warn else None
        self._link.idle(idle.more_s, words)
        if words is not None:
            self._capture.write(words)
        if idle.stop:
            self._order_stop(EndCause.IDLE, self._order.stop_grace_s)

    def _listen(self) -> None:
        """Carry the process's messages until it is gone."""
        for message in self._channel:
            if message["kind"] == "report":
                self._take_report(message)
            elif self._till.takes(message["kind"]):
                self._tell(self._till.answer(message))
            elif message["kind"] == "notice":
                self._take_notice(message)
            elif message["kind"] == "end":
                self._take_end(message)
                return

    def _take_report(self, message: dict[str, Any]) -> None:
        step, metrics = message["step"], message["metrics"]
        self._last_step = step
        if metrics and self._place.rank == 0:
            point = MetricPoint(
                agent_id=self._order.agent_id,
                at=datetime.now(UTC),
                values=metrics,
                job_id=self._order.job_id,
                attempt=self._order.number,
                step=step,
                total_steps=message["total_steps"],
            )
            with self._lock:
                self._points.append(point)
            if self._desk is not None:
                self._desk.note(metrics)
        if "checkpoint" in message:
            first = self._place.rank == 0
            path = Path(message["checkpoint"])
            self._tell(self._keep_checkpoint(path, step, metrics) if first else {"kind": "answer"})

    def _take_notice(self, message: dict[str, Any]) -> None:
        """What the process has to say to the owner: user code may say anything, so not much of it."""
        self._notices += 1
        if self._notices <= MOST_NOTICES and self._place.rank == 0:
            self._link.notice(str(message["words"])[:MAX_NOTICE])

    def _keep_checkpoint(self, path: Path, step: int, metrics: dict[str, float]) -> dict[str, Any]:
        folder = f"{folder_of(self._order.job_id, self._order.number)}/step-{step:09d}"
        self._saves[step] += 1
        if self._saves[step] > 1:
            # What is stored never changes: a second checkpoint of a step is a folder of its own.
            folder += f"-{self._saves[step]}"
        uri = checkpoints.under(self._place.storage_uri, folder)
        try:
            saved = checkpoints.save(path, uri, self._grounds, address=folder)
            expendable = self._link.save_checkpoint(step, saved, metrics, self._unstored())
        except Exception as error:
            # Whatever storage raised: a process that gets no answer would wait for ever.
            return {"kind": "answer", "error": f"The checkpoint could not be stored: {error}"}
        for each in expendable:
            with contextlib.suppress(Exception):  # the new one is safe; what stays is collected later
                checkpoints.delete(checkpoints.find(self._place.storage_uri, each, address_of(each)))
        return {"kind": "answer"}

    def _take_end(self, message: dict[str, Any]) -> None:
        if self._ending is None:
            redactor = Redactor(self._place.secrets.values())
            self._ending = Outcome(
                cause=EndCause(message["cause"]),
                message=redactor.redact(message.get("message", "")),
                exit_code=message.get("exit_code"),
                result=message.get("result"),
            )

    def _tell(self, message: dict[str, Any]) -> None:
        # When it has just ended, its exit tells the rest.
        with contextlib.suppress(OSError):
            self._channel.send(message)

    def _flush(self) -> None:
        # Under the lock, so that a point is always either here or with the link: see `_unstored`.
        with self._lock:
            points, self._points = self._points, []
            self._link.report(points)

    def _unstored(self) -> list[MetricPoint]:
        """Points that the database may not have yet, wherever they are on their way."""
        with self._lock:
            return [*self._link.unstored(), *self._points]

    def _outcome(self, exit_status: int) -> Outcome:
        """What the end means: the service's reason to stop it, its own word, or its exit status."""
        ending = self._ending
        if self._stop is not None and (ending is None or self._stop is not self._order.timeout_cause):
            # A job that obeys returns normally: it was stopped all the same, not finished.
            return Outcome(self._stop, self._stop_message(), result=ending.result if ending else None)
        if ending is not None:
            return ending
        if exit_status == -signal.SIGKILL:
            return Outcome(EndCause.NODE_LOST, "The process was killed from outside (SIGKILL).", exit_code=-9)
        if exit_status < 0:
            name = signal.Signals(-exit_status).name
            return Outcome(EndCause.USER_ERROR, f"The process died of {name}.", exit_code=exit_status)
        return Outcome(
            EndCause.USER_ERROR,
            f"The process left with exit code {exit_status} before its entry point returned.",
            exit_code=exit_status,
        )

    def _stop_message(self) -> str:
        if self._stop is EndCause.TIMEOUT:
            return f"The attempt ran past its limit of {self._order.timeout_s:g} s."
        if self._stop is EndCause.DEADLINE:
            return f"The job's deadline came after {self._order.timeout_s:g} s of this attempt."
        if self._stop is EndCause.BUDGET:
            return f"Stopped after step {self._last_step}: {self._stop_words}"
        if self._stop is EndCause.IDLE:
            idle_s = self._place.idle.stop_s
            return (
                f"Its GPUs were idle for {idle_s:g} s by step {self._last_step}; ask for none, or use them."
            )
        return f"Stopped as ordered ({self._stop}) after step {self._last_step}."


def _memory_of_tree(pid: int) -> int:
    """Resident bytes of a process and its descendants; 0 when it is gone."""
    try:
        root = psutil.Process(pid)
        return sum(_resident(p) for p in (root, *root.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _limit_burst(pid: int, request_bytes: int) -> None:
    """A ceiling well above the request, for what grows faster than memory is sampled."""
    # Gone already, or a system without limits per process: sampling still holds.
    with contextlib.suppress(psutil.Error, AttributeError, OSError):
        psutil.Process(pid).rlimit(psutil.RLIMIT_DATA, (2 * request_bytes + 1024**3,) * 2)


def _kill_group(pid: int, how: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, how)


def _wait_for_exit(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True
