"""Every error the product raises on purpose.

    GaelpError
    ├── InvalidInput            the request can never work as written
    │   ├── Unsatisfiable       no node of this cluster can ever hold the job
    │   ├── ExceedsQuota        no quota will ever allow the job
    │   └── MixedCurrencies     the accounts do not all keep the money that was named
    ├── Unauthenticated         no valid token
    ├── Forbidden               a valid token without the right
    │   └── Denied              the policies of the agent do not allow the action
    ├── NotFound                no such thing, or not visible to the caller
    ├── Conflict                clashes with what is already there
    │   ├── IllegalTransition   the state does not allow the event
    │   ├── IdempotencyConflict same key, other body
    │   ├── AccountClosed       the account takes no new holds any more
    │   ├── LinkFailed          the operation it depends on was refused
    │   ├── AlreadyPosted       the hold was spent
    │   ├── AlreadyVoided       the hold was given back
    │   ├── HoldExpired         the hold ran out of time
    │   ├── ExceedsHold         more than was held
    │   ├── Unbookable          what is booked already does not add up
    │   ├── Halted              a kill switch is engaged
    │   ├── NoLimit             a budget of real money has no limit, so it holds nothing
    │   └── NotEligible         evidence or approvals are missing
    ├── BudgetExceeded          the spend would pass the limit
    ├── QueueFull               too many jobs wait already
    ├── TooManyFollowers        too many logs or agents are followed already
    ├── TooLarge                the request body is over the limit
    ├── Unavailable             a part we need does not answer; nothing was changed
    │   └── Busy                other changes were in the way again and again
    └── SetupError              the machine or its configuration is not ready

A message is one sentence that says what was wrong, what was expected and what to do.
``code`` is stable and part of the interface.
"""

from __future__ import annotations

from typing import Any, ClassVar


class GaelpError(Exception):
    """Something went wrong in gaelp-ray."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str | None = None, **details: Any) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        #: Machine-readable facts shown beside the message, JSON-serialisable.
        self.details = details
        super().__init__(self.message)


class InvalidInput(GaelpError):
    """The request is not valid; correct it and send it again."""

    code = "invalid_input"


class Unsatisfiable(InvalidInput):
    """No node of this cluster can ever hold the requested resources."""

    code = "unsatisfiable"


class ExceedsQuota(InvalidInput):
    """Your quota can never hold the requested resources; ask for less or have it raised."""

    code = "exceeds_quota"


class Unauthenticated(GaelpError):
    """A valid bearer token is needed; make one with `gaelp token create`."""

    code = "unauthenticated"


class Forbidden(GaelpError):
    """Your token does not allow this; ask the owner or an admin."""

    code = "forbidden"


class Denied(Forbidden):
    """The policies of the agent do not allow this action."""

    code = "denied"


class NotFound(GaelpError):
    """There is no such thing, or you may not see it."""

    code = "not_found"


class Conflict(GaelpError):
    """The request clashes with what is already there."""

    code = "conflict"


class IllegalTransition(Conflict):
    """The current state does not allow this."""

    code = "illegal_transition"


class IdempotencyConflict(Conflict):
    """This idempotency key was used before with another body; use a new key."""

    code = "idempotency_conflict"


class MixedCurrencies(InvalidInput):
    """All accounts of one operation keep the same kind of money, in the currency it names."""

    code = "mixed_currencies"


class AccountClosed(Conflict):
    """The account is closed and takes no new holds."""

    code = "account_closed"


class LinkFailed(Conflict):
    """The operation that this one follows was refused, so this one is too."""

    code = "link_failed"


class AlreadyPosted(Conflict):
    """The hold was posted before."""

    code = "already_posted"


class AlreadyVoided(Conflict):
    """The hold was voided before."""

    code = "already_voided"


class HoldExpired(Conflict):
    """The hold expired; settle it with what was spent, if anything was."""

    code = "hold_expired"


class ExceedsHold(Conflict):
    """More than was held; settle the hold if it was spent already."""

    code = "exceeds_hold"


class Unbookable(Conflict):
    """What is booked already does not add up, so nothing more is; an operator of the service must look."""

    code = "unbookable"


class Halted(Conflict):
    """A kill switch is engaged; nothing new may be spent until it is released."""

    code = "halted"


class NoLimit(Conflict):
    """A budget of real money without a limit holds nothing; set a limit first."""

    code = "no_limit"


class NotEligible(Conflict):
    """What this needs first is missing."""

    code = "not_eligible"


class BudgetExceeded(GaelpError):
    """The spend would pass the budget limit; raise the limit or spend less."""

    code = "budget_exceeded"


class QueueFull(GaelpError):
    """Too many jobs wait already; try again later."""

    code = "queue_full"


class TooLarge(GaelpError):
    """The request body is too large; send less."""

    code = "too_large"


class Unavailable(GaelpError):
    """A part of the service does not answer; nothing was changed, try again."""

    code = "unavailable"


class Busy(Unavailable):
    """Other changes were in the way; nothing was changed, try again."""

    code = "busy"


class TooManyFollowers(GaelpError):
    """Too many logs or agents are followed already; end one and try again."""

    code = "too_many_followers"


class SetupError(GaelpError):
    """The machine is not ready for gaelp-ray."""

    code = "setup"
