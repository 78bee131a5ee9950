"""Runs one attempt: starts the training process, carries its messages, enforces its limits, tells its end.

The process is one of its own so that its end is known for certain: an exit code or a signal, not a guess.
What becomes of that, and of what the process says, is decided in ``domain/endings.py``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gaelp_ray.domain import endings
from gaelp_ray.domain.agents import is_script
from gaelp_ray.domain.attempts import Directive, LaunchOrder, Outcome
from gaelp_ray.domain.checkpoints import address_of, folder_of
from gaelp_ray.domain.endings import Departure
from gaelp_ray.domain.errors import InvalidInput, Unavailable
from gaelp_ray.domain.gangs import Member, environment
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.domain.ledger import Money
from gaelp_ray.domain.metrics import MetricPoint
from gaelp_ray.training import checkpoints, messages, start
from gaelp_ray.training.capture import Capture
from gaelp_ray.training.channel import FD_VARIABLE, Channel
from gaelp_ray.training.contents import Grounds
from gaelp_ray.training.gpus import Sampler, unknown
from gaelp_ray.training.idleness import NEVER, IdlePolicy, IdleWatch
from gaelp_ray.training.link import Link
from gaelp_ray.training.memory import MemoryWatch
from gaelp_ray.training.packages import Installation
from gaelp_ray.training.platforms import registry
from gaelp_ray.training.platforms.desk import Desk
from gaelp_ray.training.preparation import Ended, Preparation
from gaelp_ray.training.process import Program, TrainingProcess
from gaelp_ray.training.redaction import Redactor
from gaelp_ray.training.till import Till

log = logging.getLogger(__name__)

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
#: How long what an ended process had said is taken in.
HEAR_S = 60.0
#: Points that wait here to be handed to the hub.
MOST_POINTS = 2000

#: Never handed down: the service's own settings, credentials and the cluster's tokens.
#: So are those that steer installers: they may hold the password of a package index.
_WITHHELD = ("GAELP_", "RAY_", "REDIS_", "PIP_", "UV_")
#: Where this package is found.
_OURS = Path(__file__).parents[2]


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
    #: How long threads and exit handlers may go on after the entry point has returned.
    exit_grace_s: float = 30.0
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
        self._memory: MemoryWatch | None = None
        #: What it has ended of; the first thing counts. Its own word, or what it was ended for.
        self._ending: Outcome | None = None
        #: That is its own word, and until when it may take leave.
        self._leave_by: float | None = None
        self._was_cut = False
        self._stop: EndCause | None = None
        self._stop_words = self._adapter_words = ""
        self._kill_at: float | None = None
        self._stopped_by: str | None = None
        self._points: list[MetricPoint] = []
        self._lock = threading.Lock()
        #: It has been given its order, and may be told more.
        self._has_order = threading.Event()
        #: The process has ended; and then, all that it left has been taken in.
        self._gone = threading.Event()
        self._over = threading.Event()
        self._last_step = self._notices = 0
        self._began = self._noted_fork = False
        self._saves: Counter[int] = Counter()
        #: Where it says its end when it has closed its channel. Nobody else knows the name.
        self._letter = workplace.scratch / f"end-{uuid.uuid4()}"
        self._redactor = Redactor(workplace.secrets.values())

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
            except Unavailable as error:
                outcome = Outcome(EndCause.NODE_LOST, error.message, unexplained=True)
        peak = self._memory.peak_bytes if self._memory else 0
        outcome = self._redacted(endings.storable(replace(outcome, peak_memory_bytes=peak or None)))
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
        self._process, self._channel = self._spawn()
        self._memory = MemoryWatch(self._process.root, self._order.resources.memory_bytes)
        self._capture = Capture(
            self._process.output,
            redactor=Redactor(self._place.secrets.values()),
            limit_bytes=self._place.log_limit_bytes // len(self._members),
            prefix=self._log_prefix(),
            start_byte=self._logged,
        )
        self._till = Till(
            self._link,
            rank=self._place.rank,
            desk=self._desk,
            stop=self._out_of_money,
            is_stopping=lambda: self._stop is not None,
        )
        listener = threading.Thread(target=self._listen, args=(start_message,), daemon=True)
        shipper, clerk = (
            threading.Thread(target=work, daemon=True) for work in (self._ship_logs, self._carry_reports)
        )
        for thread in (listener, shipper, clerk):
            thread.start()
        try:
            self._watch()
        finally:
            self._process.end()
            self._gone.set()
            if self._desk is not None:
                self._desk.abandon()
            self._hear_out(listener)
            self._channel.close()
            clerk.join()
            self._over.set()
            shipper.join()
        self._settle_up()
        self._capture.finish(DRAIN_S)
        self._flush()
        with contextlib.suppress(Exception):  # a log that cannot be handed on is no reason to lose the end
            self._capture.flush(self._link.log)
        return self._outcome()

    def _hear_out(self, listener: threading.Thread) -> None:
        """What it had written before it ended is taken in; points go on to the hub meanwhile."""
        until = time.monotonic() + HEAR_S
        while listener.is_alive() and time.monotonic() < until:
            self._flush()
            listener.join(FLUSH_S)
        self._read_letter()

    def _ship_logs(self) -> None:
        """On a thread of its own: a log that waits for the database must not hold up the limits."""
        while not self._over.wait(FLUSH_S):
            # What could not be handed on is kept, and is handed on with the next piece.
            with contextlib.suppress(Exception):
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

    def _spawn(self) -> tuple[TrainingProcess, Channel]:
        channel, theirs = Channel.pair()
        try:
            program = Program(
                # Not with the working folder on its path: what it needs itself it imports before.
                [self._start.packages.python, "-P", "-u", "-m", "gaelp_ray.training.child"],
                self._environment(theirs),
                str(self._folder),
                data_limit_bytes=2 * self._order.resources.memory_bytes + 1024**3,
            )
            process = TrainingProcess(program, theirs)
        except BaseException:
            channel.close()
            raise
        finally:
            theirs.close()
        return process, channel

    @property
    def _folder(self) -> Path:
        """Where it runs, and where its own modules are looked for first."""
        return self._start.code or self._place.scratch

    def _environment(self, channel: socket.socket) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(_WITHHELD)}
        threads = str(max(1, self._order.resources.cpu_milli // 1000))
        numeric = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
        packages = self._start.packages
        users = {"", str(self._folder)} - {str(_OURS)}
        paths = [path for path in packages.paths if path not in users]
        own = {FD_VARIABLE: str(channel.fileno()), "PYTHONPATH": os.pathsep.join(paths)}
        if packages.programs is not None:
            kept["PATH"] = os.pathsep.join([packages.programs, kept.get("PATH", os.defpath)])
        own["TMPDIR"] = str(self._place.scratch)
        if len(self._members) > 1:
            own |= environment(self._members, self._place.rank)
        given = dict(self._order.environment_vars) | dict(self._place.secrets)
        given.pop("PYTHONINSPECT", None)  # at its end Python would wait for somebody to type
        return kept | numeric | given | own

    def _start_message(self) -> dict[str, Any]:
        order = self._order
        config = dict(order.config)
        if self._start.input is not None:
            config["checkpoint_dir"] = str(self._start.input.path)
        resumed = self._start.resume
        return {
            "entrypoint": order.entrypoint,
            "paths": [str(self._folder)],
            "letter": str(self._letter),
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

    def _watch(self) -> None:
        """Until the process has ended: pass on output, show life, and hold it to its limits."""
        started = time.monotonic()
        next_beat = next_sample = 0.0
        next_gpu_sample = started + GPU_SAMPLE_S
        while not self._process.wait(FLUSH_S):
            now = time.monotonic()
            if now >= next_sample:
                self._check_memory(now)
                next_sample = now + MEMORY_SAMPLE_S
            if now >= next_beat:
                self._obey(self._link.beat())
                next_beat = now + BEAT_S
            if now >= next_gpu_sample:
                self._check_gpus(now)
                next_gpu_sample = now + GPU_SAMPLE_S
            if self._order.timeout_s is not None and now - started > self._order.timeout_s:
                self._order_stop(self._order.timeout_cause, 0.0)
            self._note_pause()
            self._enforce_stop(now)
            self._flush()

    def _obey(self, directive: Directive) -> None:
        if directive.stop is not None:
            self._order_stop(directive.stop, self._order.stop_grace_s, directive.message)

    def _order_stop(self, cause: EndCause, grace_s: float, words: str = "") -> None:
        """Ask the process to stop; the first cause counts. One that has said its end has to hurry."""
        kill_at = time.monotonic() + grace_s
        with self._lock:
            if self._stop is not None or self._kill_at is not None:
                return
            self._kill_at = kill_at
            if self._ending is not None:
                return
            self._stop, self._stop_words = cause, words
        self._capture.write(f"told to stop: {cause}")
        if self._has_order.is_set():
            self._tell({"kind": "stop", "cause": cause})

    def _enforce_stop(self, now: float) -> None:
        if self._kill_at is not None and now >= self._kill_at:
            self._kill()
        elif self._leave_by is not None and now >= self._leave_by:
            self._was_cut = True
            self._capture.write(
                f"still running {self._place.exit_grace_s:g} s after its entry point returned; it is ended"
            )
            self._kill()

    def _kill(self) -> None:
        """SIGTERM, also to one that is stopped, and then SIGKILL."""
        self._process.send(signal.SIGTERM)
        self._process.send(signal.SIGCONT)
        until = time.monotonic() + TERM_S
        while not self._process.wait(max(0.0, until - time.monotonic())):
            if time.monotonic() >= until:
                self._process.end()
                return

    def _end_for(self, outcome: Outcome) -> None:
        """End it at once, for something that it did."""
        with self._lock:
            if self._ending is None:
                self._ending = outcome
        self._process.send(signal.SIGKILL)

    def _note_pause(self) -> None:
        """A stopped process holds what it holds: its owner should know."""
        if self._process.stopped_by == self._stopped_by:
            return
        self._stopped_by = self._process.stopped_by
        if self._stopped_by is not None:
            words = f"The training process was stopped by {self._stopped_by}; it goes on after a SIGCONT."
            self._capture.write(words)
            self._take_notice(words)

    def _check_memory(self, now: float) -> None:
        assert self._memory is not None
        used, limit = self._memory.look(now), self._order.resources.memory_bytes
        if used > limit:
            words = (
                f"The job used {used / 1024**2:.0f} MiB, more than the {limit / 1024**2:.0f} MiB it asked "
                f"for. Raise `resource_requirements.memory`."
            )
            self._end_for(Outcome(EndCause.OOM, words))

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

    def _listen(self, start: Mapping[str, Any]) -> None:
        """Give the process its order, and carry its messages until it and all that it left behind is gone."""
        try:
            self._give_order(start)
            for writer, line in self._channel.lines():
                self._take(line, writer)
        except InvalidInput as error:
            told = self._redactor.redact(error.message)
            self._capture.write(f"it broke the protocol of its channel: {told}")
            words = f"The job wrote on its channel to the service what is no message: {error.message}"
            if self._leave_by is None:
                self._end_for(Outcome(EndCause.USER_ERROR, words))
        except Exception as error:
            # Nobody listens to it any more: it must not wait for ever for an answer.
            log.exception("messages of an attempt are lost", extra={"attempt": self._order.attempt_id})
            words = f"Its supervisor failed: {type(error).__name__}: {error}"
            self._end_for(Outcome(EndCause.NODE_LOST, words, unexplained=True))

    def _give_order(self, start: Mapping[str, Any]) -> None:
        """It is read once the process has started, however long this takes; what is told later, at once."""
        with contextlib.suppress(OSError):  # it has ended already
            self._channel.send(start)
            self._channel.limit_sends()
        self._has_order.set()
        if self._stop is not None:
            self._tell({"kind": "stop", "cause": self._stop})

    def _take(self, line: bytes, writer: int | None) -> None:
        """One message; raises ``InvalidInput`` for what is none."""
        message = messages.read(line, questions=self._till.questions)
        started = writer is None or writer == self._process.pid
        if isinstance(message, messages.Began):
            self._began = True
        elif isinstance(message, messages.Report):
            self._take_report(message)
        elif isinstance(message, messages.Notice):
            self._take_notice(message.words)
        elif not started:
            # Forks of the process inherit its channel, and not its say.
            self._note_fork(writer)
        elif isinstance(message, messages.Asked):
            self._tell(self._till.answer(message.message))
        else:
            self._take_end(message.message)

    def _note_fork(self, writer: int | None) -> None:
        if not self._noted_fork:
            self._noted_fork = True
            self._capture.write(f"process {writer} was not started by the service; what it says is left out")

    def _take_report(self, report: messages.Report) -> None:
        self._last_step = report.step
        if report.metrics and self._place.rank == 0:
            self._add_point(report)
            if self._desk is not None:
                self._desk.note(report.metrics)
        if report.checkpoint is not None:
            first = self._place.rank == 0
            self._tell(self._keep_checkpoint(report) if first else {"kind": "answer"})

    def _add_point(self, report: messages.Report) -> None:
        """Waits while too many are on their way: who reports faster than can be stored reports slower."""
        point = MetricPoint(
            agent_id=self._order.agent_id,
            at=datetime.now(UTC),
            values=report.metrics,
            job_id=self._order.job_id,
            attempt=self._order.number,
            step=report.step,
            total_steps=report.total_steps,
        )
        while len(self._points) >= MOST_POINTS and not self._over.is_set():
            self._over.wait(FLUSH_S)
        with self._lock:
            self._points.append(point)

    def _take_notice(self, words: str) -> None:
        """What the process has to say to the owner: user code may say anything, so not much of it."""
        self._notices += 1
        if self._notices <= MOST_NOTICES and self._place.rank == 0:
            self._link.notice(words[:MAX_NOTICE])

    def _keep_checkpoint(self, report: messages.Report) -> dict[str, Any]:
        path, step, metrics = report.checkpoint, report.step, report.metrics
        assert path is not None
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

    def _take_end(self, message: Mapping[str, Any]) -> None:
        word = endings.said(message, refused_money=self._till.has_refused)
        with self._lock:
            if self._ending is None:
                self._ending = word
                self._leave_by = time.monotonic() + self._place.exit_grace_s

    def _read_letter(self) -> None:
        """The word of a process that had closed its channel."""
        try:
            message = messages.read(self._letter.read_bytes(), questions=frozenset())
            if self._ending is None and isinstance(message, messages.End):
                self._take_end(message.message)
        except (OSError, InvalidInput):
            return  # then its exit status tells its end

    def _tell(self, message: dict[str, Any]) -> None:
        # When it has just ended, or does not listen, its exit tells the rest.
        with contextlib.suppress(OSError):
            try:
                self._channel.send(message)
            except ValueError as error:
                self._channel.send({"kind": "answer", "error": f"{error}"})

    def _flush(self) -> None:
        # Under the lock, so that a point is always either here or with the link: see `_unstored`.
        with self._lock:
            room = self._link.room()
            points, self._points = self._points[:room], self._points[room:]
            self._link.report(points)

    def _unstored(self) -> list[MetricPoint]:
        """Points that the database may not have yet, wherever they are on their way."""
        with self._lock:
            return [*self._link.unstored(), *self._points]

    def _outcome(self) -> Outcome:
        """What the end means: the service's reason to stop it, its own word, or its exit status."""
        ending, order = self._ending, self._order
        left = Departure(
            self._process.status,
            killed_from_outside=self._process.killed_from_outside,
            cut_after_s=self._place.exit_grace_s if self._was_cut else None,
            began=self._began,
            own_environment=bool(order.environment_vars or self._place.secrets or order.requirements),
            script=is_script(order.entrypoint),
        )
        if self._stop is not None and (ending is None or self._stop is not order.timeout_cause):
            # A job that obeys returns normally: it was stopped all the same, not finished.
            return Outcome(self._stop, self._stop_message(), result=ending.result if ending else None)
        if ending is None:
            return endings.of_exit(left)
        return endings.after_word(ending, left) if self._leave_by is not None else ending

    def _redacted(self, outcome: Outcome) -> Outcome:
        return replace(
            outcome,
            message=self._redactor.redact(outcome.message),
            notices=tuple(map(self._redactor.redact, outcome.notices)),
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
