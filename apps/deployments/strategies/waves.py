"""Which gateways belong to which wave."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from apps.deployments.strategies.plans import Share


@dataclass(frozen=True, slots=True)
class Member:
    """A gateway of the fleet, as far as waves are concerned."""

    gateway: UUID
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)


def members_of_wave(share: Share, fleet: Sequence[Member], before: Iterable[UUID]) -> tuple[UUID, ...]:
    """The gateways that a wave adds to those that earlier waves have.

    A share is what is reached in all: gateways of earlier waves count towards it. Of those that could be next, names
    decide, so that the same fleet always gives the same waves, and a picture drawn beforehand comes true.
    """
    taken = set(before)
    eligible = [each for each in fleet if share.label is None or each.labels.get(share.label[0]) == share.label[1]]
    wanted = share.of(len(eligible)) - sum(each.gateway in taken for each in eligible)
    left = sorted((each for each in eligible if each.gateway not in taken), key=lambda each: each.name)
    return tuple(each.gateway for each in left[: max(0, wanted)])


def waves_of(shares: Sequence[Share], fleet: Sequence[Member]) -> list[tuple[UUID, ...]]:
    """The gateways of each wave, were the fleet to stay as it is."""
    waves: list[tuple[UUID, ...]] = []
    taken: set[UUID] = set()
    for share in shares:
        wave = members_of_wave(share, fleet, taken)
        taken.update(wave)
        waves.append(wave)
    return waves
