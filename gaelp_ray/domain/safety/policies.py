"""Policies: named, numbered, never changed; read from JSON and written to it."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from typing import Any, Union, get_args, get_origin, get_type_hints

from gaelp_ray.domain import ids
from gaelp_ray.domain.agents import AgentType, check_name
from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.ledger import check_currency
from gaelp_ray.domain.promotion import RequiredEvidence
from gaelp_ray.domain.safety.caps import Acceleration, ActionCap, ApprovalAbove, BidCap, SpendCap, Velocity
from gaelp_ray.domain.safety.fences import AllowedHours, Categories, Regions
from gaelp_ray.domain.safety.rewards import RewardClip
from gaelp_ray.domain.safety.stops import Anomaly, Drawdown, RewardHacking

MoneyRule = BidCap | ActionCap | SpendCap | Velocity | Acceleration | ApprovalAbove | Drawdown
ActionRule = MoneyRule | AllowedHours | Regions | Categories | Anomaly | RewardHacking
Rule = ActionRule | RewardClip | RequiredEvidence

RULES: Mapping[str, type[Rule]] = {rule.kind: rule for rule in get_args(Rule)}
MAX_RULES = 100


class Attach(StrEnum):
    """What a policy is attached to."""

    AGENT = "agent"
    #: Every agent of a type.
    TYPE = "type"
    GLOBAL = "global"


@dataclass(frozen=True, slots=True)
class Attachment:
    scope: Attach
    #: The agent's id or the type; empty for the global one.
    subject: str = ""

    def __post_init__(self) -> None:
        fits = {
            Attach.AGENT: self.subject.isascii() and self.subject.isdecimal(),
            Attach.TYPE: self.subject in set(AgentType),
            Attach.GLOBAL: self.subject == "",
        }
        if not fits[self.scope]:
            raise InvalidInput(
                "`subject` must be an agent's id, a type of agents, or empty for all; it depends on `scope`."
            )

    def canonical(self) -> Attachment:
        """The place as it is kept; raises ``InvalidInput`` for another way to write an agent's id."""
        if self.scope is Attach.AGENT:
            return Attachment(self.scope, str(ids.read(self.subject, field="subject")))
        return self


@dataclass(frozen=True, slots=True)
class Policy:
    name: str
    rules: tuple[Rule, ...]
    #: Of all amounts in its rules; an action in another currency is denied.
    currency: str | None = None
    version: int = 0
    id: int = 0

    def __post_init__(self) -> None:
        check_name(self.name)
        if not 1 <= len(self.rules) <= MAX_RULES:
            raise InvalidInput(f"A policy has 1 to {MAX_RULES} rules; got {len(self.rules)}.")
        if self.currency is not None:
            check_currency(self.currency)
        elif any(isinstance(rule, get_args(MoneyRule)) for rule in self.rules):
            raise InvalidInput("A policy with amounts must name their `currency`.")

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"


def required_evidence(policies: Iterable[Policy]) -> list[RequiredEvidence]:
    """What policies ask for before a promotion; empty: nothing, so that the default holds."""
    return [rule for policy in policies for rule in policy.rules if isinstance(rule, RequiredEvidence)]


def read(name: str, document: Mapping[str, Any], *, version: int = 0, policy_id: int = 0) -> Policy:
    """A policy from JSON. Raises ``InvalidInput`` for anything that is unknown, missing or of another type.

    {"currency": "EUR", "rules": [{"rule": "bid_cap", "max_micros": 2000000, "on_breach": "clip"}]}
    """
    if not isinstance(document, Mapping):
        raise InvalidInput("A policy must be an object with `rules`.")
    _only(document, {"currency", "rules"}, "policy")
    rules = document.get("rules")
    if not isinstance(rules, Sequence) or isinstance(rules, str):
        raise InvalidInput("`rules` must be a list.")
    read_rules = tuple(_rule(each, f"rules[{n}]") for n, each in enumerate(rules[: MAX_RULES + 1]))
    return Policy(name, read_rules, document.get("currency"), version, policy_id)


def propose(name: str, document: Mapping[str, Any]) -> Policy:
    """As ``read``, of a policy that nobody has stored yet.

    Raises ``InvalidInput`` also for what older policies may have in them.
    """
    policy = read(name, document)
    for n, rule in enumerate(policy.rules):
        if isinstance(rule, AllowedHours | Categories):
            try:
                rule.check_new()
            except InvalidInput as error:
                raise InvalidInput(f"`rules[{n}]`: {error.message}") from None
    return policy


def write(policy: Policy) -> dict[str, Any]:
    """The JSON that ``read`` reads to an equal policy."""
    rules = [
        {"rule": rule.kind} | {f.name: _plain(getattr(rule, f.name)) for f in fields(rule)}
        for rule in policy.rules
    ]
    return {"currency": policy.currency, "rules": rules}


def _rule(given: object, where: str) -> Rule:
    if not isinstance(given, Mapping):
        raise InvalidInput(f"`{where}` must be an object with `rule`, the kind of it.")
    kind = RULES.get(str(given.get("rule")))
    if kind is None:
        raise InvalidInput(
            f"`{where}.rule` must be one of {', '.join(sorted(RULES))}; got {given.get('rule')!r:.60}."
        )
    known = {f.name: f for f in fields(kind)}
    _only(given, {"rule", *known}, where)
    hints = get_type_hints(kind)
    values: dict[str, Any] = {
        name: _value(hints[name], given[name], f"{where}.{name}") for name in known if name in given
    }
    for name, each in known.items():
        if name not in values and each.default is MISSING and each.default_factory is MISSING:
            raise InvalidInput(f"`{where}.{name}` is missing.")
    try:
        return kind(**values)
    except InvalidInput as error:
        raise InvalidInput(f"`{where}`: {error.message}") from None


def _value(kind: Any, given: object, where: str) -> object:
    if get_origin(kind) in (Union, types.UnionType):
        inner = next(each for each in get_args(kind) if each is not type(None))
        return None if given is None else _value(inner, given, where)
    if get_origin(kind) is tuple:
        if not isinstance(given, list | tuple):
            raise InvalidInput(f"`{where}` must be a list.")
        return tuple(_value(get_args(kind)[0], each, where) for each in given)
    if issubclass(kind, StrEnum):
        if not isinstance(given, str) or given not in set(kind):
            raise InvalidInput(f"`{where}` must be one of {', '.join(kind)}; got {given!r:.60}.")
        return kind(given)
    wanted = (int, float) if kind is float else kind
    if isinstance(given, bool) or not isinstance(given, wanted):
        raise InvalidInput(f"`{where}` must be {_KINDS[kind]}; got {given!r:.60}.")
    return given


_KINDS = {int: "a whole number", float: "a number", str: "a text"}


def _only(given: Mapping[str, Any], known: set[str], where: str) -> None:
    if unknown := sorted(map(str, set(given) - known)):
        raise InvalidInput(f"`{where}` has no {unknown[0]!r:.60}; it has {', '.join(sorted(known))}.")


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
