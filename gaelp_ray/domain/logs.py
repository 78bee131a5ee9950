"""Logs of attempts: what is kept of one that is too long."""

from __future__ import annotations


def left_out(count: int) -> bytes:
    """The line that stands in a log for so many bytes that are not kept."""
    return f"\ngaelp: {count:,} bytes are left out here; a log keeps its beginning and its end\n".encode()
