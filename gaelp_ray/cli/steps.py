"""What a long command is doing, on stderr: a line for each step, with the seconds since it began."""

from __future__ import annotations

import contextlib
import time

from rich.text import Text

from gaelp_ray.cli.output import err


class Steps:
    """Tells each step when it begins, so that the last line says what takes so long."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def say(self, step: str) -> None:
        # Who listened may have gone; what is done goes on.
        with contextlib.suppress(OSError):
            err.print(Text(f"{self.seconds:5.1f} s  {step} ...", style="dim"), soft_wrap=True)
