"""What a training function is given: ``def train(ctx: TrainingContext) -> dict``."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gaelp_ray.domain.metrics import check_step, read_values
from gaelp_ray.domain.safety.rewards import RewardClip, RewardWatch
from gaelp_ray.training.budget import LeasedBudget
from gaelp_ray.training.orders import Delivery, Placed, Proposal
from gaelp_ray.training.reporter import ConsoleReporter, Reporter


@dataclass(frozen=True)
class Checkpoint:
    """A saved state of a job, ready to load."""

    #: Local folder with the files the trainer saved.
    path: Path
    step: int
    metrics: Mapping[str, float]


class Budget:
    """The agent's budget of simulated money, as a job may use it."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._leased: list[LeasedBudget] = []

    def spend(self, amount_micros: int, *, key: str) -> None:
        """Book a spend of whole micros before it happens; waits while the service cannot be asked.

        ``key`` names the spend within the job: the same key again, after a resume say, books nothing more.
        Raises ``BudgetExhausted`` when it would pass a limit; then nothing is booked, and that key stays
        refused.
        """
        self._reporter.spend(amount_micros, key)

    def lease(self, *, slice_micros: int, ttl_s: float = 30.0) -> LeasedBudget:
        """A budget to spend from without asking, slice by slice: for many small spends.

        Use it in a ``with`` block, at the end of which what was spent is settled. It raises
        ``BudgetExhausted`` as ``spend`` does. A process that dies has spent its slice, as far as anybody
        knows; whatever the job spends again after a resume counts again.
        """
        leased = LeasedBudget(self._reporter, slice_micros=slice_micros, ttl=timedelta(seconds=ttl_s))
        self._leased.append(leased)
        return leased

    def close(self) -> None:
        """Settle every lease that was left open."""
        for leased in self._leased:
            leased.close()


class Orders:
    """Orders on an ad platform, for jobs that spend real money."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def place(
        self,
        amount_micros: int,
        *,
        key: str,
        bid_micros: int | None = None,
        campaign: str = "",
        region: str | None = None,
        categories: Sequence[str] = (),
        profit_micros: int | None = None,
    ) -> Placed:
        """Have the platform deliver for at most so much, if policies and budgets allow it.

        ``key`` names the order within the job: placed again, after a resume say, it is the same order.
        ``profit_micros`` is what the agent has earned so far less what it has spent, for policies that stop
        an agent which loses.

        Raises ``Denied`` or ``Halted`` with ``reasons``, or ``BudgetExhausted``; then nothing is spent. A key
        that was refused stays refused. Raises ``Unavailable`` when the platform does not answer until the job
        has to stop; then it may have the order, and its money stays held.
        """
        proposal = Proposal(
            key=key,
            amount_micros=amount_micros,
            bid_micros=bid_micros,
            campaign=campaign,
            region=region,
            categories=tuple(categories),
        )
        return self._reporter.place(proposal, profit_micros)

    def reports(self) -> list[Delivery]:
        """Orders of which something new was reported since this was last asked, each as it stands now.

        A resumed attempt hears first of every order of the job.
        """
        return self._reporter.deliveries()

    def stop(self, key: str) -> None:
        """Deliver no more of an order. Platforms do not stop on a dime; its last report says what it cost."""
        self._reporter.stop_order(key)


class TrainingContext:
    """A job seen from the inside: its settings, and its only way to speak to the service."""

    def __init__(
        self,
        reporter: Reporter,
        *,
        job_id: int = 0,
        agent_id: int = 0,
        attempt: int = 1,
        config: Mapping[str, Any] | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
        seed: int = 0,
        checkpoint: Checkpoint | None = None,
        rank: int = 0,
        peers: Sequence[str] = ("127.0.0.1",),
        reward_clips: Sequence[RewardClip] = (),
    ) -> None:
        self._reporter = reporter
        self._rewards = RewardWatch(reward_clips)
        self._checkpoint = checkpoint
        self.job_id = job_id
        self.agent_id = agent_id
        #: 1 for the first try; more after a retry, a preemption or a lost node.
        self.attempt = attempt
        #: The version's ``config`` overlaid with the job's ``training_config``.
        self.config: Mapping[str, Any] = dict(config or {})
        self.hyperparameters: Mapping[str, Any] = dict(hyperparameters or {})
        self.seed = seed
        #: This worker's number among the job's ``world_size``. What rank 0 reports, saves and spends counts;
        #: reports and checkpoints of others are left out, and they may not spend.
        self.rank = rank
        #: Addresses of the hosts of all workers, by rank.
        self.peers: tuple[str, ...] = tuple(peers)
        #: Seeded with ``seed``, the same for every attempt; save its state in checkpoints to resume exactly.
        self.rng = np.random.default_rng(seed)
        #: Whether this job has come as far as a report, in this attempt or before its checkpoint.
        self.has_reported = checkpoint is not None
        self.budget = Budget(reporter)
        self.orders = Orders(reporter)

    def report(
        self,
        metrics: Mapping[str, float],
        *,
        step: int,
        total_steps: int | None = None,
        checkpoint: Path | str | None = None,
    ) -> None:
        """Publish metrics, and optionally a checkpoint, of a step.

        ``checkpoint`` is a folder; when the call returns its files are safe in storage and the folder may be
        reused. Values that are not finite are left out and noted in the log. Raises ``InvalidInput`` for what
        is no metric or no step: ``gaelp_ray/domain/metrics.py`` has the rule.
        """
        path = Path(checkpoint) if checkpoint is not None else None
        if path is not None and not path.is_dir():
            raise ValueError(f"`checkpoint` must be a folder with the files to keep; {path} is none.")
        total = None if total_steps is None else check_step(total_steps, field_name="total_steps")
        self._reporter.report(read_values(metrics), step=check_step(step), total_steps=total, checkpoint=path)
        self.has_reported = True

    @property
    def clips_rewards(self) -> bool:
        """Whether a policy says what rewards are cut to."""
        return bool(self._rewards.rules)

    def clip_reward(self, reward: float) -> float:
        """A reward as the agent may learn from it: cut by the policies of the agent.

        The reference trainer does so by itself. Raises ``InvalidInput`` for what is no finite number. When
        more rewards are cut than a policy allows, the job carries a notice.
        """
        clipped = self._rewards.clip(reward)
        suspicion = self._rewards.suspicion()
        if suspicion is not None:
            self._reporter.notice(suspicion)
        return clipped

    def latest_checkpoint(self) -> Checkpoint | None:
        """Where to go on from: the newest checkpoint of this job, or None on a fresh start."""
        return self._checkpoint

    @property
    def world_size(self) -> int:
        return len(self.peers)

    def should_stop(self) -> bool:
        """Whether the job was told to stop; save a checkpoint and return soon."""
        return self._reporter.stop_reason() is not None

    def stop_reason(self) -> str | None:
        """Why the job was told to stop: ``cancelled``, ``preempted``, ``timeout``, ``deadline``, ``idle`` or
        ``budget``.

        After ``preempted`` it goes on later, from its last checkpoint. None: it was not told.
        """
        return self._reporter.stop_reason()

    def scratch(self) -> Path:
        """A working folder of this attempt, gone with it."""
        return self._scratch

    @cached_property
    def _scratch(self) -> Path:
        return Path(tempfile.mkdtemp(prefix="gaelp-"))


_current: TrainingContext | None = None


def set_current(context: TrainingContext) -> None:
    global _current  # noqa: PLW0603 - one context per process, as one job per process
    _current = context


def current_context() -> TrainingContext:
    """The context of the running job, for scripts; run by hand, one that reports to the console."""
    if _current is None:
        set_current(TrainingContext(ConsoleReporter()))
    assert _current is not None
    return _current
