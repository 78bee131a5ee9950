"""How long a job will run and what it will cost: one forecast for a submission, an edit and a dry run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from gaelp_ray.domain.costs import Terms
from gaelp_ray.domain.forecast import Forecast, forecast, run_time
from gaelp_ray.domain.money import written
from gaelp_ray.domain.requests import Request
from gaelp_ray.services import costs
from gaelp_ray.store import jobs as job_store

#: Past runs of an agent that say how long its next one will take.
PAST_RUNS = 20
#: How the notice of a job begins that may cost more than is left.
MAY_COST = "It may cost "


@dataclass(frozen=True)
class JobDefaults:
    """What a submission gets that leaves a thing open."""

    timeout_s: float | None
    max_retries: int
    queue_limit: int
    #: Of each user, where his quota does not say.
    user_queue_limit: int = 10_000
    #: Whether this cluster can run a job in its own container image.
    runs_images: bool = False
    #: How running time is paid for; None where it is free.
    terms: Terms | None = None
    #: Whether a job is refused, not only told, that may cost more than is left.
    refuses_dear_jobs: bool = False


def of_job(
    connection: Connection,
    agent_id: int,
    *,
    guess_s: float | None,
    timeout_s: float | None,
    request: Request,
    terms: Terms | None,
) -> Forecast:
    """The forecast of a job of an agent, by its user's guess and the agent's past runs.

    Raises ``InvalidInput`` for a GPU without a price.
    """
    return forecast(
        guess_s=guess_s,
        past=run_time(job_store.recent_runs(connection, agent_id, limit=PAST_RUNS)),
        timeout_s=timeout_s,
        request=request,
        prices=terms.prices if terms is not None else None,
    )


def shortage(
    connection: Connection,
    found: Forecast,
    *,
    owner: str,
    team: str | None,
    terms: Terms | None,
    now: datetime,
) -> str | None:
    """That a job may cost more than its budgets have left, as a sentence; None if it cannot, or who knows."""
    most = found.most_micros
    if terms is None or most is None:
        return None
    short = costs.funds(connection, terms, now=now, of=(owner, team)).short_of(most, owner, team)
    if short is None:
        return None
    how = "expected" if found.p90_cost_micros is None else "90th percentile"
    return f"{MAY_COST}{written(most)} {terms.prices.currency} ({how}), and {short}."
