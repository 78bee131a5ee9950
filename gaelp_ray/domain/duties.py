"""What the service does again and again by itself, and how one bad item of it stops nobody.

A duty works on items: due jobs, holds past their time, orders, points. They are done together, which is
quick. When that fails, the items are halved until those that fail stand alone. These are set aside, and tried
again after a pause that doubles; all others are done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Generic, TypeVar

from gaelp_ray.domain.errors import Busy, Unavailable

T = TypeVar("T")
R = TypeVar("R")

#: An item that failed once waits so long, twice as long after each further failure, at most so long.
FIRST_PAUSE = timedelta(seconds=10)
LONGEST_PAUSE = timedelta(minutes=10)
#: What is kept of the words of an error.
MAX_WORDS = 500


@dataclass(frozen=True)
class Duty:
    """Something that is done again and again."""

    name: str
    #: What it does, as a sentence for operators.
    what: str
    #: What one item of it is called; None where it does one thing as a whole.
    item: str | None = None


TICK = Duty("tick", "Decide which jobs start, and start them.")
WAKE = Duty("wake", "Put jobs back in the queue whose backoff is over.", "job")
EXPIRE_JOBS = Duty("expire-jobs", "Fail waiting jobs whose deadline has passed.", "job")
QUEUE = Duty("queue", "Keep the scheduler's view of the queue up to date.", "job")
LOOK = Duty("look", "Read what a plan goes by: claims, quotas, budgets, reservations.", "row")
PLAN = Duty("plan", "Decide about each waiting job.", "job")
START = Duty("start", "Admit the jobs that a plan starts.", "job")
AUTOSCALER = Duty("autoscaler", "Ask the autoscaler for the nodes that waiting jobs need.")
UPKEEP = Duty("upkeep", "Count jobs, agents and items set aside, for metrics.")
TAKE_OVER = Duty("take-over", "Declare attempts of launchers lost that fell silent.", "attempt")
RECONCILE = Duty("reconcile", "Compare attempts with the tasks that launchers own.", "finding")
REGISTER = Duty("register", "Begin a launcher's life.")
ORDERS = Duty("orders", "Carry out the orders of launchers.", "order")
DELIVER = Duty("deliver", "Note that attempts were handed to Ray.", "attempt")
ORPHANS = Duty("orphans", "Declare attempts of a launcher's earlier life lost.", "attempt")
HEARTBEAT = Duty("heartbeat", "Show that launchers and attempts are alive.")
DRAINS = Duty("drains", "Move attempts away from nodes that are to go.")
PLACES = Duty("places", "Take attempts back that Ray finds no room for.")
SWITCHES = Duty("switches", "Stop attempts that spend real money under a kill switch.")
COLLECT = Duty("collect", "Remove checkpoint folders that nobody refers to.", "attempt")
PAY = Duty("pay", "Hold money for the next running time of attempts.", "attempt")
LOGS = Duty("logs", "Store pieces of logs.", "piece")
POINTS = Duty("points", "Store metric points.", "point")
COMMITS = Duty("commits", "Carry out operations of the ledger.", "operation")
WATCH_SWITCHES = Duty("watch-switches", "Keep the guards' memory of kill switches fresh.")
EXPIRE_HOLDS = Duty("expire-holds", "End holds of money that are past their time.", "hold")
PROVE_LEDGER = Duty("prove-ledger", "Prove that the ledger adds up.")
PROVE_AUDIT = Duty("prove-audit", "Prove that the audit was not changed.")
EXPIRE_APPROVALS = Duty("expire-approvals", "Note the end of approvals whose time is up.")
SAFETY = Duty("safety", "Count violations and kill switches, for metrics.")
RAMPS = Duty("ramps", "Move staged spend up or back.", "ramp")
LIVE_POINTS = Duty("live-points", "Show new metric points to those who watch.", "point")
LIVE_EVENTS = Duty("live-events", "Show changes of jobs to those who watch.", "event")
READS = Duty("reads", "Answer reads that arrive together.", "key")

#: Every duty by its name. A loop is started for one of these, or not at all.
DUTIES: Mapping[str, Duty] = {each.name: each for each in list(globals().values()) if isinstance(each, Duty)}


@dataclass(frozen=True)
class Failed:
    """What came of an item that could not be done."""

    error: Exception


def isolated(items: Sequence[T], do: Callable[[Sequence[T]], Sequence[R]]) -> list[R | Failed]:
    """Do all items together; one result for each, in order.

    Where that fails they are halved until those that fail stand alone. What is no item's fault is raised.
    """
    if not items:
        return []
    try:
        return list(do(items))
    except Exception as error:
        if is_no_items_fault(error):
            raise
        if len(items) == 1:
            return [Failed(error)]
    half = len(items) // 2
    return [*isolated(items[:half], do), *isolated(items[half:], do)]


def is_no_items_fault(error: Exception) -> bool:
    """Whether something was away that every item needs.

    ``Busy`` does not say so: an item that always loses its race must not stop the others.
    """
    away = isinstance(error, ConnectionError | Unavailable)
    return away and not isinstance(error, Busy)


def words_of(error: Exception) -> str:
    """An error in one short line, without what a database adds on the lines after it."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text.replace("\x00", "")[:MAX_WORDS]


@dataclass
class Troubles(Generic[T]):
    """Collects what could not be read, where the rest is gone on with."""

    found: dict[T, Exception] = field(default_factory=dict)

    def add(self, item: T, error: Exception) -> None:
        self.found[item] = error

    def each(self, items: Sequence[T], one: Callable[[T], R]) -> Iterator[R]:
        """What comes of each item; those that fail are left out, and noted."""
        for item in items:
            try:
                result = one(item)
            except Exception as error:
                self.add(item, error)
            else:
                yield result
