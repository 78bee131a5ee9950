"""How an attempt ends: what is known of its process in, an outcome that can always be stored out.

The training process says how its entry point ended. That word is data of somebody else's code: what it may
say is listed here, and what the service alone decides, such as a preemption, it cannot claim. Without a word
the exit status of the process decides. ``docs/guides/how-jobs-end.md`` has the table.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gaelp_ray.domain.attempts import Outcome
from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.domain.results import MAX_RESULT_BYTES, kept, plain_text, size_of

#: What a training process may say of its own end; that its budget is used up only where it was refused money.
SAYABLE = frozenset(
    {EndCause.SUCCESS, EndCause.USER_ERROR, EndCause.MISCONFIGURED, EndCause.OOM, EndCause.BUDGET}
)
#: Of an outcome, in characters.
MAX_MESSAGE, MAX_NOTICE = 2000, 500
#: Of one outcome.
MAX_NOTICES = 10
_INT32, _INT64 = 2**31, 2**63


@dataclass(frozen=True)
class Departure:
    """How the process of an attempt went."""

    #: An exit code, minus a signal's number, or None when nobody saw it: its parent was killed.
    status: int | None
    #: That parent was killed by nobody below it.
    killed_from_outside: bool = False
    #: It had said its end, did not go within its time, and was ended.
    cut_after_s: float | None = None
    #: It had its order, so that the job's own code ran.
    began: bool = True
    #: Variables or packages of the job's own were there when Python started.
    own_environment: bool = False
    #: It is a script: one that leaves with 0 has completed, whatever way it left.
    script: bool = False


def said(message: Mapping[str, Any], *, refused_money: bool) -> Outcome:
    """A process's own word on its end; raises ``InvalidInput`` for what is none."""
    cause = message.get("cause")
    if not isinstance(cause, str) or cause not in SAYABLE:
        raise InvalidInput(
            f"A process says one of {', '.join(sorted(SAYABLE))} of its end; got {cause!r:.80}."
        )
    result = message.get("result")
    if result is not None and not isinstance(result, dict):
        raise InvalidInput(f"A result is an object; got {type(result).__name__}.")
    words, notices, code = message.get("message", ""), message.get("notices", []), message.get("exit_code")
    if not isinstance(words, str) or not isinstance(notices, list):
        raise InvalidInput("The words on an end are text.")
    if code is not None and (isinstance(code, bool) or not isinstance(code, int)):
        raise InvalidInput("An exit code is a whole number.")
    if cause == EndCause.BUDGET and not refused_money:
        cause = EndCause.USER_ERROR
    return storable(
        Outcome(EndCause(cause), words, exit_code=code, result=result, notices=tuple(map(str, notices)))
    )


def of_exit(left: Departure) -> Outcome:
    """The end of a process that said nothing."""
    status = -int(signal.SIGKILL) if left.killed_from_outside else left.status
    if status is None:
        return Outcome(
            EndCause.USER_ERROR, "The parent of the training process was killed, and the process with it."
        )
    if status == -signal.SIGKILL:
        return Outcome(
            EndCause.NODE_LOST,
            "The process was killed from outside (SIGKILL).",
            exit_code=status,
            unexplained=True,
        )
    if status < 0:
        name = signal_name(-status)
        return Outcome(EndCause.USER_ERROR, f"The process died of {name}.", exit_code=status)
    if not left.began:
        return _never_began(status, left)
    if status == 0 and left.script:
        return Outcome(EndCause.SUCCESS, result={})
    words = f"The process left with exit code {status} before its entry point returned."
    return Outcome(EndCause.USER_ERROR, words, exit_code=status)


def _never_began(status: int, left: Departure) -> Outcome:
    if left.own_environment:
        words = f"Python could not start with the job's environment and left with exit code {status}; "
        words += "the log says why. Check `environment_vars` and `requirements`."
        return Outcome(EndCause.MISCONFIGURED, words, exit_code=status)
    words = f"Python could not start on the node and left with exit code {status}; the log says why."
    return Outcome(EndCause.NODE_LOST, words, exit_code=status, unexplained=True)


def after_word(word: Outcome, left: Departure) -> Outcome:
    """The word stands, whatever the exit handlers did after it; a success carries a notice of it."""
    if word.cause is not EndCause.SUCCESS:
        return word
    if left.cut_after_s is not None:
        notice = (
            f"It was still running {left.cut_after_s:g} s after its entry point had returned, in a thread or "
            f"an exit handler, and was ended."
        )
    elif left.status == 0:
        return word
    elif left.status is None or left.status < 0:
        how = "was killed" if left.status is None else f"died of {signal_name(-left.status)}"
        notice = f"After its entry point had returned, while its exit handlers ran, the process {how}."
    else:
        notice = f"After its entry point had returned the process left with exit code {left.status}."
    return replace(word, notices=(*word.notices, notice))


def storable(outcome: Outcome) -> Outcome:
    """The same outcome as the database can hold it: bounded, and of whole Unicode characters.

    Done again, it changes nothing. Whatever is given, this does not fail.
    """
    result, notices = outcome.result, list(outcome.notices)
    if result is not None:
        found = kept(result)
        result, more = found.values, found.notices
        notices += more
    return replace(
        outcome,
        message=plain_text(outcome.message, most=MAX_MESSAGE),
        exit_code=_within(outcome.exit_code, _INT32),
        peak_memory_bytes=_within(outcome.peak_memory_bytes, _INT64),
        result=result,
        notices=tuple(dict.fromkeys(plain_text(each, most=MAX_NOTICE) for each in notices))[:MAX_NOTICES],
    )


def bare(outcome: Outcome) -> Outcome:
    """An outcome of which nothing is left but its cause: for a store that refuses the rest."""
    return Outcome(
        outcome.cause, "How it ended in detail could not be stored.", unexplained=outcome.unexplained
    )


def signal_name(number: int) -> str:
    """``SIGSEGV``, ``SIGRTMIN+6``; the number where the system has no name for it."""
    try:
        return signal.Signals(number).name
    except ValueError:
        first, last = int(signal.SIGRTMIN), int(signal.SIGRTMAX)
        return f"SIGRTMIN+{number - first}" if first < number < last else f"signal {number}"


def _within(number: int | None, end: int) -> int | None:
    """None for what the column cannot hold."""
    return number if isinstance(number, int) and -end <= number < end else None


__all__ = [
    "MAX_RESULT_BYTES",
    "SAYABLE",
    "Departure",
    "after_word",
    "bare",
    "of_exit",
    "said",
    "signal_name",
    "size_of",
    "storable",
]
