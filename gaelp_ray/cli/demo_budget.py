"""``gaelp demo-budget``: an agent spends real money on a bad platform, and is stopped to the cent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Annotated, Any

import typer

from gaelp_ray.cli.demo import EVALUATION, connect_here, service
from gaelp_ray.cli.output import cell, err, out, print_table
from gaelp_ray.cli.progress import headline, watch_job
from gaelp_ray.cli.tokens import make
from gaelp_ray.client import Agent, GaelpClient, Job, Stage, StatementLine
from gaelp_ray.config import Settings
from gaelp_ray.domain.agents import DEFAULT_ENTRYPOINT, AgentType
from gaelp_ray.domain.approvals import Purpose
from gaelp_ray.domain.errors import Conflict, Denied, GaelpError, Unavailable
from gaelp_ray.domain.ledger import Money, Scope
from gaelp_ray.domain.money import MICROS_PER_UNIT, written
from gaelp_ray.domain.roles import Role
from gaelp_ray.domain.safety.policies import Attach

BIDDER = "gaelp_ray.training.trainers.bidder:run"
VERSION = "1.0.0"
#: Of its training, and the unseen days that it is judged on.
EPOCHS, DAYS = 20, 20
PLATFORM = {
    "name": "sandbox",
    "lasts_s": 3.0,
    "runs_on_s": 2.0,
    "max_delay_s": 1.5,
    "over_delivery_percent": 10,
    "duplicates_percent": 30,
    "outage_percent": 20,
    "shuffle_percent": 50,
}
#: The bidder asks for more than it may bid, so its bids are clipped.
BID_CAP, BID, CLICK_VALUE = 400_000, 500_000, 600_000
#: The canary is cancelled once it has spent so much, with orders open.
CANARY_SPEND = 2.0
#: Less than this cannot be ordered: a cent, and what is held on top of it.
REST_MICROS = 11_500
APPROVERS = ("demo-approver-1", "demo-approver-2")
#: The agent needs about half a minute.
RUN_S = 240.0
#: How long the ramp and the platform may take for their last word.
PATIENCE_S = 60.0
_LOOK_EVERY_S = 1.0
_LINES = 10


@dataclass(frozen=True)
class Stand:
    """What the demo works with."""

    gaelp: GaelpClient
    settings: Settings
    agent: Agent
    #: The agent's account of real money.
    budget_id: int
    limit_micros: int
    began: datetime


def demo_budget(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running afterwards.")] = False,
    budget: Annotated[int, typer.Option(min=5, help="What the agent may spend in all.")] = 25,
) -> None:
    """Start the service here, and let an agent spend real money on a sandbox until its budget is gone.

    Exit 0 only if no line of its statement is past the limit, all that the platform reported is booked, and
    the audit is as it was written.
    """
    settings = Settings()
    with service(settings, keep=keep), connect_here(settings) as gaelp:
        stand = _prepare(gaelp, settings, budget)
        canary = _run(stand, "canary", stop_at=CANARY_SPEND)
        _say("The canary is cancelled; its open orders are stopped, and run on for a while.")
        _reconcile(stand, canary)
        _await_ramp(stand)
        last = _run(stand, "until-it-is-gone")
        _say(f"The agent is stopped: {last.cause}. {last.message}")
        _reconcile(stand, last)
        _show_violations(stand)
        _show_audit(stand)
        faults = [*_check_statement(stand), *_check_books(stand, last)]
    for fault in faults:
        err.print(fault, style="red")
    raise typer.Exit(1 if faults else 0)


def _prepare(gaelp: GaelpClient, settings: Settings, budget: int) -> Stand:
    """An agent with a budget, rules, evidence, two approvals, a promotion and a ramp."""
    began = datetime.now(UTC) - timedelta(seconds=1)
    agent = _register(gaelp, budget)
    (account,) = gaelp.budgets.list(scope=Scope.AGENT, subject=str(agent.id), money=Money.REAL).items
    limit = budget * MICROS_PER_UNIT
    _say(f"Agent {agent.id} {agent.name} has a budget of {budget} {account.currency} of real money.")
    stand = Stand(gaelp, settings, agent, account.id, limit, began)
    _rule(stand, account.currency)
    _promote(stand)
    _try_too_much(stand)
    ramp = gaelp.ramps.start(
        agent.id,
        VERSION,
        account_id=account.id,
        full_day_micros=limit,
        metric="profit",
        min_samples=3,
        min_value=0.0,
        stages=[Stage(40, 3.0), Stage(100, 1.0)],
    )
    _say(f"Its ramp begins: {written(ramp.day_micros)} a day while it is a canary.")
    return stand


def _register(gaelp: GaelpClient, budget: int) -> Agent:
    """A new agent, numbered on from earlier demos."""
    for number in count(1):
        with suppress(Conflict):
            return gaelp.agents.create(
                f"demo-spender-{number}",
                AgentType.REAL_DEPLOYMENT,
                version=VERSION,
                description="Made by `gaelp demo-budget`.",
                entrypoint=BIDDER,
                config={"platform": PLATFORM},
                resource_requirements={"cpu": "500m", "memory": "512Mi"},
                budget_limit=float(budget),
            )
    raise AssertionError("count() does not end")


def _rule(stand: Stand, currency: str) -> None:
    name = f"demo-{stand.agent.id}"
    rules = [
        {"rule": "bid_cap", "max_micros": BID_CAP},
        {"rule": "velocity", "max_micros_per_hour": 2 * stand.limit_micros},
        {"rule": "spend_cap", "period": "day", "max_micros": 3 * stand.limit_micros},
    ]
    policy = stand.gaelp.policies.write(name, {"currency": currency, "rules": rules})
    stand.gaelp.policies.attach(name, Attach.AGENT, stand.agent.id)
    label = f"{policy.name}@{policy.version}"
    _say(f"Policy {label} caps bids at {written(BID_CAP)}, and bounds the hour and the day.")


def _promote(stand: Stand) -> None:
    gaelp, agent = stand.gaelp, stand.agent
    _say("It learns in simulation first, and is compared with the best fixed bid.")
    trained = _complete(gaelp, agent, "training", DEFAULT_ENTRYPOINT, hyperparameters={"epochs": EPOCHS})
    config = {"from_job": trained.id, "seeds": DAYS}
    judged = _complete(gaelp, agent, "evaluation", EVALUATION, training_config=config)
    found = gaelp.promotions.record_evidence(agent.id, VERSION, baseline="best fixed bid", jobs=[judged.id])
    _say(
        f"Job {judged.id} is its evidence: {found.effect:+.2f} a day, from {found.low:+.2f} to "
        f"{found.high:+.2f} on {found.seeds} days that it had not seen."
    )
    subject = gaelp.promotions.get(agent.id, VERSION).approval_subject
    asked = gaelp.approvals.request(Purpose.PROMOTION, subject, reason="It beat the best fixed bid.")
    with ExitStack() as stack:
        for user in APPROVERS:
            gaelp.roles.grant(user, Role.APPROVER)
            other = stack.enter_context(GaelpClient(gaelp.url, make(stand.settings, user, admin=False)))
            other.approvals.approve(asked.id, reason="The evidence is good.")
    gaelp.promotions.promote(agent.id, VERSION)
    _say(f"Version {VERSION} is promoted, on evidence and the word of {' and '.join(APPROVERS)}.")


def _complete(gaelp: GaelpClient, agent: Agent, name: str, entrypoint: str, **fields: Any) -> Job:
    """A job in simulation, watched until it has completed."""
    job = gaelp.jobs.submit(agent.id, name=name, entrypoint=entrypoint, seed=0, **fields)
    try:
        job = watch_job(gaelp.jobs.follow(job.id), headline)
    except BaseException:
        with suppress(GaelpError):
            gaelp.jobs.cancel(job.id)
        raise
    if not job.succeeded:
        raise GaelpError(f"Job {job.id} ({job.name}) {job.status}: {job.message or job.cause}.")
    return job


def _try_too_much(stand: Stand) -> None:
    """By hand, and refused as the agent would be."""
    try:
        stand.gaelp.budgets.hold(stand.budget_id, 4 * stand.limit_micros, action={"bid_micros": BID_CAP})
    except Denied as denied:
        _say(f"Who asks for {written(4 * stand.limit_micros)} at once is denied. {denied.message}")


def _run(stand: Stand, name: str, *, stop_at: float | None = None) -> Job:
    job = stand.gaelp.jobs.submit(
        stand.agent.id,
        name=name,
        money=Money.REAL,
        hyperparameters={
            "bid_micros": BID,
            "click_value_micros": CLICK_VALUE,
            "pace_micros_per_s": 2 * MICROS_PER_UNIT,
        },
        max_retries=0,
        timeout_seconds=RUN_S,
    )
    try:
        return watch_job(_views(stand.gaelp, job, stop_at), _with_budget(stand))
    except BaseException:
        with suppress(GaelpError):
            stand.gaelp.jobs.cancel(job.id)
        raise


def _views(gaelp: GaelpClient, job: Job, stop_at: float | None) -> Iterator[Job]:
    """The job at every change; cancelled once it has spent ``stop_at``."""
    for view in gaelp.jobs.follow(job.id):
        yield view
        if stop_at is not None and view.progress.metrics.get("spend", 0.0) >= stop_at:
            gaelp.jobs.cancel(job.id)
            stop_at = None


def _with_budget(stand: Stand) -> Callable[[Job], str]:
    """A note on a job: what is spent and held of the budget, looked up now and then."""
    words, looked = "", -_LOOK_EVERY_S

    def note(job: Job) -> str:
        nonlocal words, looked
        if job.ended or time.monotonic() - looked >= _LOOK_EVERY_S:
            with suppress(GaelpError):
                balance = stand.gaelp.budgets.balance(stand.budget_id)
                words = (
                    f"spent {written(balance.posted_micros)}, held {written(balance.pending_micros)} "
                    f"of {written(stand.limit_micros)}"
                )
            looked = time.monotonic()
        return "  ".join(filter(None, (words, headline(job) if job.waiting else "")))

    return note


def _reconcile(stand: Stand, job: Job) -> None:
    """Bring what the platform says after the job has ended, show how the books differ, and book it."""
    late = _late_reports(stand.settings, job)
    gaelp, name = stand.gaelp, PLATFORM["name"]
    if late:
        gaelp.platforms.report(str(name), late)
    found = gaelp.platforms.differences(str(name), since=stand.began, until=datetime.now(UTC))
    rows = [
        (
            d.kind,
            d.order_key,
            written(d.reported_micros),
            written(d.booked_micros),
            written(d.difference_micros),
        )
        for d in found
    ]
    _say(f"{len(late)} more reports came; platform and ledger differ on {len(found)} orders.")
    if rows:
        print_table(("what", "order", "reported", "booked", "difference"), rows, empty="")
        booked = gaelp.platforms.reconcile(str(name), since=stand.began, until=datetime.now(UTC))
        _say(f"{sum(each.code is None for each in booked)} of them are booked.")


def _late_reports(settings: Settings, job: Job) -> list[dict[str, Any]]:
    """What the sandbox has to say once it has delivered everything; it lives on in its file."""
    from gaelp_ray.training.platforms.registry import Site, make  # noqa: PLC0415 - keeps `gaelp --help` quick
    from gaelp_ray.training.platforms.sandbox import LastingSandbox  # noqa: PLC0415

    site = Site(job_id=job.id, seed=job.seed, folder_uri=f"{settings.storage_uri}/platforms")
    platform = make({"platform": PLATFORM}, site)
    assert isinstance(platform, LastingSandbox)
    found: list[dict[str, Any]] = []
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        with suppress(Unavailable):
            reports = platform.reports(now=datetime.now(UTC))
            found += [{k: v for k, v in asdict(each).items() if k != "platform"} for each in reports]
            if platform.is_silent:
                return found
        time.sleep(0.2)
    raise GaelpError(f"The platform did not finish its orders in {PATIENCE_S:.0f} s.")


def _await_ramp(stand: Stand) -> None:
    _say("The canary earned money, so the ramp goes up by itself.")
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        (ramp, *_) = stand.gaelp.ramps.list(agent_id=stand.agent.id).items
        if ramp.day_micros >= stand.limit_micros:
            _say(f"Its ramp is {ramp.state}: {written(ramp.day_micros)} a day.")
            return
        time.sleep(_LOOK_EVERY_S)
    raise GaelpError(f"The ramp is still {ramp.state} after {PATIENCE_S:.0f} s: {ramp.reason}")


def _show_violations(stand: Stand) -> None:
    found = list(stand.gaelp.violations.iterate(stand.agent.id))
    by_rule: dict[tuple[str, str], list[str]] = {}
    for each in found:
        by_rule.setdefault((each.severity, each.code), []).append(each.message)
    _say(f"{len(found)} violations of its policies:")
    rows = [(severity, code, len(said), said[-1]) for (severity, code), said in sorted(by_rule.items())]
    print_table(("led to", "rule", "times", "last"), rows, empty="None.")


def _show_audit(stand: Stand) -> None:
    records = [each for each in stand.gaelp.audit.iterate() if each.at >= stand.began]
    _say(f"The audit has {len(records)} records of this demo; the last:")
    rows = [(r.seq, r.actor, r.action, r.subject) for r in records[-2 * _LINES :]]
    print_table(("record", "who", "what", "of"), rows, empty="")


def _check_statement(stand: Stand) -> list[str]:
    """Show the statement; every line must lie within the limit."""
    lines = list(_statement(stand))
    rows = [
        (
            line.operation,
            line.hold_key or line.key,
            written(line.pending_micros),
            written(line.posted_micros),
            written(line.balance_pending_micros),
            written(line.balance_posted_micros),
        )
        for line in lines[-_LINES:]
    ]
    _say(f"The last of {len(lines)} lines of its statement:")
    print_table(
        ("operation", "order", "held", "spent", "held in all", "spent in all"), rows, empty="Nothing."
    )
    most = max((line.balance_pending_micros + line.balance_posted_micros for line in lines), default=0)
    sums = [sum(getattr(line, f"{part}_micros") for line in lines) for part in ("pending", "posted")]
    balance = stand.gaelp.budgets.balance(stand.budget_id)
    out.print(
        f"Limit {written(stand.limit_micros)}; spent {written(sums[1])}, held {written(sums[0])}; "
        f"never more than {written(most)} at once."
    )
    faults = []
    if most > stand.limit_micros:
        faults.append(f"{written(most)} were held and spent, past the limit.")
    if sums != [balance.pending_micros, balance.posted_micros]:
        faults.append(f"The lines add up to {sums}, and the balance is {balance}.")
    return faults


def _statement(stand: Stand) -> Iterator[StatementLine]:
    cursor: str | None = None
    while True:
        page = stand.gaelp.budgets.statement(stand.budget_id, since=stand.began, cursor=cursor)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return


def _check_books(stand: Stand, last: Job) -> list[str]:
    faults = []
    if last.cause != "budget":
        faults.append(f"The last job ended for {last.cause}, not because its budget was gone.")
    balance = stand.gaelp.budgets.balance(stand.budget_id)
    left = stand.limit_micros - balance.posted_micros - balance.pending_micros
    if balance.pending_micros or left >= REST_MICROS:
        faults.append(
            f"{written(left)} are left of the budget and {written(balance.pending_micros)} are held."
        )
    differing = stand.gaelp.platforms.differences(
        str(PLATFORM["name"]), since=stand.began, until=datetime.now(UTC)
    )
    faults += [f"Order {each.order_key} is not booked as it was reported." for each in differing]
    proof = stand.gaelp.audit.verify()
    if proof.holds:
        _say(f"{proof.seq} records of the audit are as they were written.")
    faults += [each.message for each in proof.breaks]
    return faults


def _say(sentence: str) -> None:
    out.print(cell(sentence), soft_wrap=True)
