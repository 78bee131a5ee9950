"""Subjects: what something is said of, such as ``agent 7`` or ``user ann``, each with one way to write it."""

from __future__ import annotations

import re

from gaelp_ray.domain import ids, names
from gaelp_ray.domain.errors import InvalidInput

#: Kinds of which one is named by its id.
NUMBERED = frozenset({"account", "agent", "approval", "job", "ramp", "version"})
#: Kinds of which one is named by a name that is kept in canonical form.
NAMED = frozenset({"campaign", "team", "user"})
_SUBJECT = re.compile(r"(?P<about>quota of |hold on )?(?P<kind>[a-z]+) (?P<name>.+)", re.DOTALL)


def read(subject: str, *, field: str = "subject") -> str:
    """The subject as it is kept; raises ``InvalidInput`` for another way to write an id, as in ``agent 07``.

    What is of no known kind is left as it is.
    """
    found = _SUBJECT.fullmatch(subject)
    if found is None:
        return subject
    about, kind, name = found["about"] or "", found["kind"], found["name"]
    if kind in NUMBERED and ids.known(name) is None:
        raise InvalidInput(
            f"`{field}` must name the {kind} by its id in plain digits, such as '{about}{kind} 7'; "
            f"got {subject!r:.100}.",
            field=field,
        )
    return f"{about}{kind} {names.canonical(name)}" if kind in NAMED else subject


def policy(subject: str) -> str | None:
    """The name of the policy that a subject is, in whatever case; None where it is none."""
    kind, _, name = subject.partition(" ")
    return name if kind == "policy" and name else None


def same(first: str, second: str) -> bool:
    """Whether two subjects are one: policies are, in whatever case they are written."""
    if policy(first) is not None and policy(second) is not None:
        return names.same(first, second)
    return first == second
