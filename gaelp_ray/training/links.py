"""Symbolic links that stay within the folder they are in."""

from __future__ import annotations

import posixpath
from pathlib import PurePosixPath


def leads_out(name: str, target: str) -> bool:
    """Whether the link ``name`` may lead out of the folder that ``name`` is relative to.

    A target may climb only at its beginning: ``..`` after a name would climb from wherever another link
    leads. When no link leads out by this rule, none does through another, for the folder of each is a real
    one.
    """
    parts = PurePosixPath(target).parts
    climbs = next((n for n, part in enumerate(parts) if part != ".."), len(parts))
    depth = len(PurePosixPath(name).parts) - 1
    return posixpath.isabs(target) or ".." in parts[climbs:] or climbs > depth
