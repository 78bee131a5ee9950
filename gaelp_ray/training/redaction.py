"""Keeps known secrets out of captured logs."""

from __future__ import annotations

from collections.abc import Iterable

MASK = b"[redacted]"
#: Shorter values are left alone: masking every "1" would ruin the log and protect nothing.
MIN_LENGTH = 6


class Redactor:
    """Replaces secret values in a stream of bytes, also where one is split over two pieces."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = {secret.encode() for secret in secrets if len(secret) >= MIN_LENGTH}
        # Longest first, so that a secret that holds another is masked whole.
        self._secrets = sorted(known, key=len, reverse=True)
        self._kept = b""

    def feed(self, data: bytes) -> bytes:
        """What is safe to pass on; the start of what may be a secret is held back."""
        text = self._mask(self._kept + data)
        hold = max((self._overlap(text, secret) for secret in self._secrets), default=0)
        self._kept = text[len(text) - hold :] if hold else b""
        return text[: len(text) - hold] if hold else text

    def flush(self) -> bytes:
        rest, self._kept = self._kept, b""
        return rest

    def _mask(self, text: bytes) -> bytes:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text

    @staticmethod
    def _overlap(text: bytes, secret: bytes) -> int:
        """Length of the longest end of ``text`` that is a proper beginning of ``secret``."""
        for length in range(min(len(secret) - 1, len(text)), 0, -1):
            if text.endswith(secret[:length]):
                return length
        return 0
