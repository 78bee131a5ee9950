"""The audit: records chained by hashes, so that none can be edited, taken out or moved without being found.

What a chain cannot show by itself is that somebody wrote all of it anew, its end included. Whoever keeps a
copy of the number and hash of the end elsewhere can tell that too: see ``anchor``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from gaelp_ray.domain.errors import InvalidInput

_SEAL = re.compile(r"(?:0|[1-9][0-9]{0,17}):[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Record:
    """One change: who, what, when, before and after."""

    at: datetime
    actor: str
    #: Noun and verb, such as ``limit.set``.
    action: str
    subject: str
    #: Canonical JSON; None: there was nothing before, or is nothing after.
    before: str | None
    after: str | None
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Seal:
    """The end of a chain."""

    seq: int
    hash: str

    @staticmethod
    def read(text: str) -> Seal:
        """From ``SEQ:HASH``, as it is kept elsewhere; raises ``InvalidInput``."""
        if not _SEAL.fullmatch(text):
            raise InvalidInput("An anchor must be SEQ:HASH, as a verification of the audit gives it.")
        seq, _, found = text.partition(":")
        return Seal(int(seq), found)

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


@dataclass(frozen=True, slots=True)
class Sealed:
    """A record in its place of the chain."""

    seal: Seal
    record: Record


#: What the first record is chained to.
GENESIS = Seal(0, "0" * 64)


def canonical(value: Mapping[str, Any] | None) -> str | None:
    """Equal text for equal values: keys sorted, no spaces, ASCII only. Raises ``ValueError`` for NaN."""
    if value is None:
        return None
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)


def seal(previous: Seal, record: Record) -> Seal:
    """The place of a record that follows ``previous``."""
    body = [
        previous.seq + 1,
        record.at.astimezone(UTC).isoformat(timespec="microseconds"),
        record.actor,
        record.action,
        record.subject,
        record.before,
        record.after,
        record.request_id,
    ]
    text = previous.hash + json.dumps(body, separators=(",", ":"))
    return Seal(previous.seq + 1, sha256(text.encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class Break:
    """Where a chain is not as it was written."""

    seq: int
    #: ``edited``: the record, its hash or that of the one before was changed. ``missing``: no record has this
    #: number. ``misplaced``: the number was there before, or is past the end. ``head``: the end is not the
    #: one that was kept.
    kind: str
    message: str


def breaks(chain: Iterable[Sealed], head: Seal, *, anchor: Seal | None = None) -> Iterator[Break]:
    """Everything that is wrong with a chain, in the order of its numbers; nothing where all is right.

    ``chain`` is read in the order of its numbers. ``anchor`` is an end that was kept elsewhere earlier.
    """
    last, anchored = GENESIS, anchor is None or anchor == GENESIS
    for each in chain:
        found = each.seal
        if found.seq <= last.seq:
            yield Break(found.seq, "misplaced", f"Record {found.seq} follows record {last.seq}.")
            continue
        if found.seq > last.seq + 1:
            yield Break(last.seq + 1, "missing", f"Records {last.seq + 1} to {found.seq - 1} are missing.")
        elif seal(last, each.record) != found:
            yield Break(found.seq, "edited", f"Record {found.seq} is not what was sealed after {last.seq}.")
        if anchor is not None and found.seq == anchor.seq:
            anchored = found == anchor
        last = found
    yield from _end(last, head)
    if anchor is not None and not anchored:
        yield Break(anchor.seq, "head", f"Record {anchor.seq} has not the hash {anchor.hash} that was kept.")


def _end(last: Seal, head: Seal) -> Iterator[Break]:
    if last.seq < head.seq:
        yield Break(last.seq + 1, "missing", f"Records {last.seq + 1} to {head.seq} are missing at the end.")
    elif last.seq > head.seq:
        yield Break(head.seq + 1, "misplaced", f"Records follow {head.seq}, the end of the chain.")
    elif last.hash != head.hash:
        yield Break(head.seq, "head", f"The chain ends in {last.hash}, not in {head.hash} as was kept.")


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    raise TypeError(f"{type(value).__name__} cannot be written to the audit.")
