"""The job states as a document, made from the tables that the code obeys.

``python -m gaelp_ray.domain.jobs_chart > docs/job-states.md``
"""

from __future__ import annotations

from gaelp_ray.domain.jobs import LIVE, TERMINAL, TRANSITIONS, JobEvent, JobState, public_status

_DOCUMENT = """\
# The states of a job

Made from `gaelp_ray/domain/jobs.py` by `python -m gaelp_ray.domain.jobs_chart`; do not edit it by hand.

An arrow is the only way from one state to the next, and each writes one row to `job_events`. A job holds
resources, and has exactly one live attempt, in the states marked so below. From every state there is a way to
an end, and an end is final.

```mermaid
{chart}
```

| State | In the API | Holds resources | Takes |
|---|---|---|---|
{rows}
"""


def chart() -> str:
    """The transitions as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {JobState.QUEUED}: {JobEvent.SUBMIT}"]
    lines += [f"    {state} --> {after}: {event}" for (state, event), after in TRANSITIONS.items()]
    lines += [f"    {state} --> [*]" for state in JobState if state in TERMINAL]
    return "\n".join(lines)


def document() -> str:
    """The content of ``docs/job-states.md``."""
    return _DOCUMENT.format(chart=chart(), rows="\n".join(_row(state) for state in JobState))


def _row(state: JobState) -> str:
    taken = ", ".join(f"`{event}`" for before, event in TRANSITIONS if before is state) or "nothing"
    return f"| `{state}` | `{public_status(state)}` | {'yes' if state in LIVE else 'no'} | {taken} |"


if __name__ == "__main__":
    print(document(), end="")
