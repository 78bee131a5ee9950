"""What Ray's verdict on a task means for the attempt that it ran."""

from __future__ import annotations

from ray.exceptions import (
    NodeDiedError,
    OutOfMemoryError,
    RuntimeEnvSetupError,
    TaskCancelledError,
    WorkerCrashedError,
)

from gaelp_ray.domain.attempts import Outcome
from gaelp_ray.domain.jobs import EndCause

#: Most particular first.
_VERDICTS: tuple[tuple[type[Exception], EndCause, str], ...] = (
    (RuntimeEnvSetupError, EndCause.MISCONFIGURED, "Its environment could not be set up: {error}"),
    (OutOfMemoryError, EndCause.OOM, "Ray killed it because its node ran out of memory."),
    (TaskCancelledError, EndCause.CANCELLED, "It was killed because it did not stop in time."),
    (NodeDiedError, EndCause.NODE_LOST, "Its node died."),
    (WorkerCrashedError, EndCause.NODE_LOST, "Its Ray worker died."),
    (Exception, EndCause.NODE_LOST, "Its supervisor failed: {error}"),
)


def outcome_of_failure(error: Exception) -> Outcome:
    kind, cause, sentence = next(each for each in _VERDICTS if isinstance(error, each[0]))
    unexplained = cause is EndCause.NODE_LOST and kind is not NodeDiedError
    return Outcome(cause, sentence.format(error=error)[:2000], unexplained=unexplained)
