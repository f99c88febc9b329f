"""Where the gateways of a deployment stand in its rollout, and what to want of them next."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from django.db.models import Q

from apps.deployments.models import Deployment, Release, Rollout, RolloutStep
from apps.deployments.strategies.shapes import Held, Moves, Shape, Standing, moves
from apps.deployments.strategies.waves import Member
from apps.gateways.models import Gateway, Placement
from apps.gateways.placements import want_on_gateways
from contract.kinds import ROUTE, TOMBSTONE_DIGEST, WORKFLOW
from contract.names import canary_name
from contract.routes import Route

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from uuid import UUID

    from apps.gateways.models.placements import PlacementQuerySet


@dataclass(frozen=True, slots=True)
class Wish:
    """One thing to want of some gateways; a tombstone's digest wants it gone."""

    kind: str
    name: str
    digest: str
    gateways: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class Fleet:
    """The gateways that serve a rollout's environment, what each should hold by now, and what it holds.

    Attributes:
        members: ordered by name.
        within: of each step that was begun and does not concern everybody, the gateways that it concerns.
    """

    rollout: Rollout
    steps: tuple[RolloutStep, ...]
    members: tuple[Member, ...]
    standings: dict[UUID, Standing]
    within: dict[UUID, frozenset[UUID]]

    @classmethod
    def read(cls, rollout: Rollout, steps: Sequence[RolloutStep]) -> Fleet:
        """Read it. Two queries, and one more for waves that have begun."""
        deployment = rollout.deployment
        gateways = Gateway.objects.serving().filter(environment=deployment.environment_id).order_by("name")
        rows = gateways.values_list("pk", "name", "labels")
        return cls(
            rollout,
            tuple(steps),
            tuple(Member(pk, name, labels) for pk, name, labels in rows),
            standings(deployment.registration, placements_of([deployment.registration])),
            gateways_of(begun_waves(steps)),
        )

    @property
    def current(self) -> RolloutStep | None:
        """The step that is not finished; None after the last."""
        return next((step for step in self.steps if step.finished_at is None), None)

    @property
    def taken(self) -> frozenset[UUID]:
        """The gateways of all waves that were begun."""
        return frozenset().union(*self.within.values())

    def concerned(self, step: RolloutStep) -> list[UUID]:
        """The gateways that serve and that a begun step waits for."""
        everybody = [member.gateway for member in self.members]
        if step.everywhere:
            return everybody
        inside = self.within.get(step.pk, frozenset())
        return [gateway for gateway in everybody if gateway in inside]

    def shape(self, gateway: UUID) -> Shape:
        """What a gateway should hold, by the steps that were begun."""
        new, old = _digest(self.rollout.to_release), _digest(self.rollout.from_release)
        begun = [step for step in self.steps if step.started_at is not None]
        if not begun:
            return Shape(old)
        newest = begun[-1]
        match newest.kind:
            case RolloutStep.Kind.PROMOTE:
                return Shape(new, promotes=True)
            case RolloutStep.Kind.WEIGHT:
                return Shape(old, canary=new, percent=newest.reach.percent or 0)
        return Shape(new if newest.everywhere or gateway in self.taken else old)

    def moves(self, gateway: UUID, *, at_once: bool = False) -> Moves:
        """What comes next for one gateway."""
        shape = self.shape(gateway)
        return moves(shape, self.standings.get(gateway, Standing()), _route_digest(shape), at_once=at_once)

    def confirmed(self, step: RolloutStep) -> bool:
        """Whether every gateway that a begun step waits for holds what it should."""
        concerned = self.concerned(step)
        if not concerned and step.everywhere:
            # A release waits for its first gateway; without any gateway, nothing runs.
            return self.rollout.to_release is None
        return all(self.moves(gateway).done for gateway in concerned)

    def wishes(self, *, at_once: bool = False) -> list[Wish]:
        """What has to be wanted now of whom."""
        registration = self.rollout.deployment.registration
        wanted: dict[tuple[str, str, str], list[UUID]] = defaultdict(list)
        for member in self.members:
            step = self.moves(member.gateway, at_once=at_once)
            for kind, name, digest in (
                (WORKFLOW.name, registration, step.release),
                (WORKFLOW.name, canary_name(registration), step.canary),
                (ROUTE.name, registration, step.route),
            ):
                if digest is not None:
                    wanted[kind, name, digest].append(member.gateway)
        return [Wish(*key, tuple(gateways)) for key, gateways in sorted(wanted.items())]

    def place(self, wishes: Iterable[Wish], *, force: bool = False) -> None:
        """Want it. The caller has the environment locked."""
        rollout = self.rollout
        bodies: dict[str, bytes | None] = {TOMBSTONE_DIGEST: None}
        for release in (rollout.from_release, rollout.to_release):
            if release is not None:
                bodies[release.digest] = bytes(release.body)
        for member in self.members:
            route = _route(self.shape(member.gateway))
            if route is not None:
                bodies[route.digest] = route.canonical
        gateways = Gateway.objects.in_bulk([member.gateway for member in self.members])
        for wish in wishes:
            found = [gateways[gateway] for gateway in wish.gateways if gateway in gateways]
            want_on_gateways(found, wish.kind, wish.name, bodies[wish.digest], force=force)

    def send_again(self, step: RolloutStep) -> None:
        """Want the new release anew where it is wanted already: only a new generation makes gateways take it again."""
        name, digest = self.rollout.deployment.registration, _digest(self.rollout.to_release)
        self.place([Wish(WORKFLOW.name, name, digest, tuple(self.concerned(step)))], force=True)


def standings(registration: str, placements: Iterable[Placement]) -> dict[UUID, Standing]:
    """What is wanted and held of a registration, by gateway; those of which nothing was ever wanted are missing."""
    found: dict[UUID, Standing] = {}
    for row in placements:
        held = Held(row.desired_digest, row.settled)
        standing = found.get(row.gateway_id, Standing())
        if row.kind == ROUTE.name:
            standing = replace(standing, route=held)
        elif row.name == registration:
            standing = replace(standing, release=held)
        else:
            standing = replace(standing, canary=held)
        found[row.gateway_id] = standing
    return found


def unsettled(deployment: Deployment) -> list[Placement]:
    """The deployment's placements that are not as wanted, those of its canary and its route included."""
    rows = placements_of([deployment.registration]).unsettled().explained()
    return list(rows.order_by("gateway__name", "kind", "name"))


def placements_of(registrations: Collection[str]) -> PlacementQuerySet:
    """Everything that makes up registrations on gateways: their releases, their canaries and their routes."""
    workflows = Q(kind=WORKFLOW.name, name__in=[*registrations, *map(canary_name, registrations)])
    return Placement.objects.filter(workflows | Q(kind=ROUTE.name, name__in=list(registrations)))


def gateways_of(steps: Iterable[RolloutStep]) -> dict[UUID, frozenset[UUID]]:
    """The gateways that were written down for steps. One query, and none for no steps."""
    found: dict[UUID, set[UUID]] = {step.pk: set() for step in steps}
    if found:
        rows = RolloutStep.gateways.through._default_manager.filter(rolloutstep__in=list(found))
        for step, gateway in rows.values_list("rolloutstep_id", "gateway_id"):
            found[step].add(gateway)
    return {step: frozenset(gateways) for step, gateways in found.items()}


def begun_waves(steps: Iterable[RolloutStep]) -> list[RolloutStep]:
    """The steps whose gateways were fixed when they began."""
    return [step for step in steps if step.started_at is not None and not step.everywhere]


def _digest(release: Release | None) -> str:
    return release.digest if release is not None else TOMBSTONE_DIGEST


@lru_cache(maxsize=64)
def _route(shape: Shape) -> Route | None:
    # The same for every gateway of a fleet, and asked for each of them at every look.
    return Route(canary=shape.canary, percent=shape.percent) if shape.percent else None


def _route_digest(shape: Shape) -> str:
    route = _route(shape)
    return route.digest if route is not None else TOMBSTONE_DIGEST
