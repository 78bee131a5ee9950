"""What an attempt needs before its process can start, made ready on its node."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from gaelp_ray.domain.attempts import LaunchOrder, ResumePoint
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.training import checkpoints, code, packages
from gaelp_ray.training.checkpoints import CheckpointCorrupt
from gaelp_ray.training.context import Checkpoint
from gaelp_ray.training.link import Link
from gaelp_ray.training.packages import Installation, Packages
from gaelp_ray.training.preparation import Preparation, ends

#: How often it is asked for newer checkpoints when those it knew are gone.
ASKS = 3


@dataclass(frozen=True)
class Start:
    packages: Packages
    #: Where the job's code is; None where it names none.
    code: Path | None
    #: What it goes on from, and what it was given to work on.
    resume: Checkpoint | None
    input: Checkpoint | None


@dataclass(frozen=True)
class Place:
    """Where and with what things are made ready."""

    storage_uri: str
    scratch: Path
    installation: Installation


def make_ready(
    order: LaunchOrder, place: Place, link: Link, preparation: Preparation, held: ExitStack, *, first: bool
) -> Start:
    """To be called in ``preparation``'s work; ``held`` keeps the packages.

    ``first``: this worker speaks for the attempt. Raises ``Ended`` where something is missing.
    """
    scratch = place.scratch
    with ExitStack() as mine:
        ready = Start(
            mine.enter_context(
                packages.for_job(order.requirements, place.installation, preparation, scratch)
            ),
            code.lay_out(order.working_dir, scratch, preparation, platform.node()),
            _resume(order, place, link, preparation, first=first),
            _input(order, place, link, preparation),
        )
        preparation.check()
        held.push(mine.pop_all())
    return ready


def _resume(
    order: LaunchOrder, place: Place, link: Link, preparation: Preparation, *, first: bool
) -> Checkpoint | None:
    """The last saved checkpoint that is whole; none is a fresh start. What is skipped is told."""
    if order.resume_from is None:
        return None
    found, skipped = _restore([order.resume_from], place, "resume", preparation)
    if found is None:
        # Only now, for it hardly ever happens: which others are there.
        others = [point for point in link.resume_points().own if point.uri != order.resume_from.uri]
        found, more = _restore(others, place, "resume", preparation)
        skipped += more
    if skipped:
        going_on = f"it goes on from step {found.step}" if found else "it starts from the beginning"
        words = f"{' '.join(skipped)} So {going_on}."
        preparation.say(f"gaelp: {words}")
        if first:
            link.resumed(found.step if found else None, words)
    return found


def _input(order: LaunchOrder, place: Place, link: Link, preparation: Preparation) -> Checkpoint | None:
    """The last saved checkpoint of the job that was named, as long as that job has one that is whole."""
    points = [order.input_checkpoint] if order.input_checkpoint is not None else []
    if order.from_job is None and not points:
        return None
    tried: set[str] = set()
    why: list[str] = []
    for _ in range(ASKS):
        found, skipped = _restore(points, place, "input", preparation)
        why += skipped
        if found is not None:
            return found
        tried |= {point.uri for point in points}
        points = [point for point in link.resume_points().inputs if point.uri not in tried]
        if not points:
            break
    raise ends(
        EndCause.MISCONFIGURED,
        f"Job {order.from_job}, which `from_job` names, has no checkpoint that can be read. {' '.join(why)}",
    )


def _restore(
    points: Sequence[ResumePoint], place: Place, folder: str, preparation: Preparation
) -> tuple[Checkpoint | None, list[str]]:
    """The first that is whole, and what is wrong with those before it."""
    skipped = []
    for point in points:
        try:
            uri = checkpoints.find(place.storage_uri, point.uri, point.address)
            path = checkpoints.restore(uri, point.digest, place.scratch / folder, preparation.check)
        except CheckpointCorrupt as error:
            skipped.append(error.message)
        except OSError as error:
            # It may be whole: that the storage does not answer says nothing about it.
            raise ends(
                EndCause.NODE_LOST, f"The checkpoint of step {point.step} could not be read: {error}"
            ) from error
        else:
            return Checkpoint(path, point.step, point.metrics), skipped
    return None, skipped
