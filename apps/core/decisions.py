"""The answer of the decision function, with the rules that led to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Effect = Literal["allow", "deny", "none"]


@dataclass(frozen=True, slots=True)
class Reason:
    """One rule that was asked.

    Attributes:
        rule: the rule's stable name, such as `role` or `object-grant`.
        effect: what it said; `none` means that it did not apply.
        text: why, in words for the person concerned.
    """

    rule: str
    effect: Effect
    text: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether an actor may do an action on a resource, and why.

    Attributes:
        allowed: the answer.
        action: the action that was asked for, such as `agent.publish`.
        resource: `type:id` of the resource, or the type alone for a whole collection.
        trace: every rule that took part, in the order in which it was asked.
    """

    allowed: bool
    action: str
    resource: str
    trace: tuple[Reason, ...]

    @property
    def explanation(self) -> str:
        """The reason that decided, as one sentence."""
        decisive = "allow" if self.allowed else "deny"
        return next((reason.text for reason in self.trace if reason.effect == decisive), "No rule allows it.")
