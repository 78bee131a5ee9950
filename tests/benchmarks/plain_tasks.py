"""Plain Ray tasks that do nothing but wait: what a process on Ray costs before anybody adds to it.

Run as a program: ``python -m tests.benchmarks.plain_tasks RAY_ADDRESS COUNT CPUS MEMORY_BYTES FOLDER``. The
tasks say in the folder that they run. Prints ``ALL_RUN`` and the seconds until all did; they run until this
process ends.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import Any

#: Ray has words of its own on the same output.
ALL_RUN = "all run after "
#: By itself it never stays longer.
BOUND_S = 300.0


def main() -> None:
    import ray  # noqa: PLC0415 - slow to import

    address, count, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[5])
    cpus, memory = float(sys.argv[3]), int(sys.argv[4])
    ray.init(address=address, namespace="plain", log_to_driver=False, logging_level=logging.ERROR)
    task: Any = ray.remote(num_cpus=cpus, memory=memory, max_retries=0)(arrive_and_wait)
    started = time.monotonic()
    arrivals = [folder / str(number) for number in range(count)]
    running = [task.remote(str(arrival)) for arrival in arrivals]
    while not all(arrival.exists() for arrival in arrivals):
        time.sleep(0.02)
        if time.monotonic() > started + BOUND_S:
            raise TimeoutError(f"{count} tasks did not run within {BOUND_S} s")
    print(f"{ALL_RUN}{time.monotonic() - started}", flush=True)
    ray.wait(running, timeout=BOUND_S)


def arrive_and_wait(arrival: str) -> None:
    Path(arrival).touch()
    time.sleep(BOUND_S)


if __name__ == "__main__":
    main()
