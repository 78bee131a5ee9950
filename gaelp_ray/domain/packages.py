"""Packages that a job asks for beside those of the service."""

from __future__ import annotations

from collections.abc import Sequence

from gaelp_ray.domain.errors import InvalidInput

MOST_LINES, MAX_LINE = 500, 500
#: A job runs with the service's own copy of it.
OWN_NAME = "gaelp-ray"


def check_requirements(lines: Sequence[str]) -> tuple[str, ...]:
    """The requirements in one way of writing, sorted; equal ones are one.

    Each must be a package's name with extras, versions and a marker as PEP 508 has them: options, addresses
    and paths would let a job steer the installer, which runs outside of the job. Raises ``InvalidInput``
    naming the first line that is none.
    """
    if len(lines) > MOST_LINES:
        raise InvalidInput(f"`requirements` may have {MOST_LINES} lines; got {len(lines)}.")
    return tuple(sorted({_written(line) for line in lines}))


def _written(line: str) -> str:
    # A training process imports this module too, and may have no such package, or another version of it.
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415
    from packaging.utils import canonicalize_name  # noqa: PLC0415

    if len(line) > MAX_LINE or not line.isprintable():
        raise InvalidInput(
            f"A line of `requirements` has at most {MAX_LINE} printable characters; got {line[:80]!r}."
        )
    try:
        asked = Requirement(line)
    except InvalidRequirement:
        asked = None
    if asked is None or asked.url is not None:
        raise InvalidInput(
            f"A line of `requirements` is a package's name with versions, such as 'torch>=2.4'; options, "
            f"addresses and paths are not taken; got {line[:200]!r}."
        )
    if canonicalize_name(asked.name) == OWN_NAME:
        raise InvalidInput(f"`requirements` may not name {OWN_NAME}: a job runs with the service's own.")
    asked.name = canonicalize_name(asked.name)
    return str(asked)
