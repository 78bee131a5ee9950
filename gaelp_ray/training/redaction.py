"""Keeps known secrets out of captured logs and of what is said about a job."""

from __future__ import annotations

import re
from collections.abc import Iterable

MASK = b"[redacted]"
#: Shorter values are left alone: masking every "1" would ruin the log and protect nothing.
MIN_LENGTH = 6


class Redactor:
    """Replaces secret values in a stream of bytes, also where one is split over two pieces."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = {secret.encode() for secret in secrets if len(secret) >= MIN_LENGTH}
        # Longest first, so that a secret that begins with another is masked whole.
        self._secrets = sorted(known, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, self._secrets))) if known else None
        self._kept = b""

    def feed(self, data: bytes) -> bytes:
        """What is safe to pass on; the start of what may be a secret is held back."""
        text = self._kept + data
        parts: list[bytes] = []
        done, unsure = 0, self._unsure_from(text, 0)
        while (found := self._find(text, done)) and found.start() < unsure:
            parts += (text[done : found.start()], MASK)
            done = found.end()
            if done > unsure:
                unsure = self._unsure_from(text, done)
        self._kept = text[unsure:]
        return b"".join([*parts, text[done:unsure]])

    def flush(self) -> bytes:
        """The rest, once the stream has ended."""
        rest, self._kept = self._kept, b""
        return self._pattern.sub(MASK, rest) if self._pattern else rest

    def redact(self, text: str) -> str:
        """A whole text without its secrets."""
        return self._pattern.sub(MASK, text.encode()).decode() if self._pattern else text

    def _find(self, text: bytes, start: int) -> re.Match[bytes] | None:
        return self._pattern.search(text, start) if self._pattern else None

    def _unsure_from(self, text: bytes, start: int) -> int:
        """Where the end of ``text`` begins that may turn out to be a secret, or a longer one."""
        return len(text) - max((self._overlap(text[start:], each) for each in self._secrets), default=0)

    @staticmethod
    def _overlap(text: bytes, secret: bytes) -> int:
        """Length of the longest end of ``text`` that is a proper beginning of ``secret``."""
        for length in range(min(len(secret) - 1, len(text)), 0, -1):
            if text.endswith(secret[:length]):
                return length
        return 0
