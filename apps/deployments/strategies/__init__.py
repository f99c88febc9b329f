"""How a rollout reaches the gateways of its environment.

A strategy decides and does nothing: it is shown where every gateway stands and answers what comes next. The reconciler
asks it again after each change, so that a crash loses no step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one gateway stands in a rollout.

    Attributes:
        wants: whether the gateway's desired state is the rollout's target.
        confirmed: whether the gateway was seen to hold it.
    """

    gateway: UUID
    wants: bool
    confirmed: bool


@dataclass(frozen=True, slots=True)
class Step:
    """What comes next.

    Attributes:
        gateways: those whose desired state has to become the target now.
        finished: nothing is left to do, and nothing to wait for.
    """

    gateways: tuple[UUID, ...] = ()
    finished: bool = False


class Strategy(Protocol):
    """A way to roll out."""

    name: str
    summary: str

    def next_step(self, standings: Sequence[Standing]) -> Step:
        """What comes next, given where every gateway of the environment stands."""


class AllAtOnce:
    """Every gateway gets the target at the first moment; finished when all have confirmed."""

    name = "all-at-once"
    summary = "Every gateway of the environment at the same time."

    def next_step(self, standings: Sequence[Standing]) -> Step:
        behind = tuple(standing.gateway for standing in standings if not standing.wants)
        return Step(behind, finished=all(standing.wants and standing.confirmed for standing in standings))


DEFAULT = AllAtOnce.name
STRATEGIES: dict[str, Strategy] = {strategy.name: strategy for strategy in (AllAtOnce(),)}
