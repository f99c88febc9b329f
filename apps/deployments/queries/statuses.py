"""What stands where: the status of deployments, read from the placements of this moment."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from django.db.models import Case, CharField, Exists, OuterRef, Q, QuerySet, Value, When
from django.utils import timezone

from apps.gateways.models import Gateway, Placement
from contract.kinds import WORKFLOW

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from apps.deployments.models import Deployment, DeploymentQuerySet

Adjective = Literal["running", "progressing", "failing", "waiting", "removing", "undeployed"]
ADJECTIVES: tuple[Adjective, ...] = ("running", "progressing", "failing", "waiting", "removing", "undeployed")
# So many pushes or polls in a row failed that "progressing" would be a promise nobody can keep.
FAILING_AFTER = 5
_FAILING = (
    Q(attempts__gte=FAILING_AFTER)
    | Q(gateway__consecutive_failures__gte=FAILING_AFTER)
    | Q(gateway__status=Gateway.Status.REFUSED)
)
_NAMED_GATEWAYS = 2


@dataclass(frozen=True, slots=True)
class GatewayProgress:
    """Where one gateway stands.

    Attributes:
        placement: None where nothing was ever wanted of it.
        status, reason: as `Placement` says them.
        confirmed: whether it was seen to hold what is wanted.
    """

    gateway: Gateway
    placement: Placement | None
    status: str
    reason: str
    confirmed: bool

    @property
    def next_attempt_at(self) -> datetime | None:
        """When it is tried next; None where nothing is left to try."""
        return self.placement.next_attempt_at if self.placement is not None and not self.confirmed else None


@dataclass(frozen=True, slots=True)
class DeploymentStatus:
    """The status of a deployment: an adjective, never without its reason, and the gateways behind it."""

    adjective: Adjective
    reason: str
    gateways: tuple[GatewayProgress, ...] = field(default=())

    @property
    def confirmed(self) -> int:
        """How many gateways hold what is wanted."""
        return sum(progress.confirmed for progress in self.gateways)

    @property
    def total(self) -> int:
        return len(self.gateways)

    @property
    def settled(self) -> bool:
        """Whether nothing is under way."""
        return self.adjective in ("running", "undeployed")


def with_adjective(deployments: DeploymentQuerySet) -> QuerySet[Deployment]:
    """Annotate `adjective`, so that lists can be filtered and sorted by it in SQL. `statuses` says the same."""
    here = Placement.objects.filter(
        kind=WORKFLOW.name, name=OuterRef("registration"), gateway__environment=OuterRef("environment")
    )
    serving = Gateway.objects.serving().filter(environment=OuterRef("environment"))
    unsettled, gone = Exists(here.unsettled()), Q(release=None)
    return deployments.annotate(
        adjective=Case(
            When(Exists(here.unsettled().filter(_FAILING)), then=Value("failing")),
            When(gone & Q(unsettled), then=Value("removing")),
            When(gone, then=Value("undeployed")),
            When(~Exists(serving), then=Value("waiting")),
            When(unsettled, then=Value("progressing")),
            default=Value("running"),
            output_field=CharField(),
        )
    )


def statuses(deployments: Iterable[Deployment]) -> dict[UUID, DeploymentStatus]:
    """The status of each deployment, by primary key, in two queries."""
    shown = list(deployments)
    placements: dict[str, dict[UUID, Placement]] = defaultdict(dict)
    names = [deployment.registration for deployment in shown]
    for placement in Placement.objects.filter(kind=WORKFLOW.name, name__in=names).select_related("gateway"):
        placements[placement.name][placement.gateway_id] = placement
    gateways: dict[UUID, list[Gateway]] = defaultdict(list)
    for gateway in Gateway.objects.filter(environment__in={deployment.environment_id for deployment in shown}):
        gateways[gateway.environment_id].append(gateway)
    return {
        deployment.pk: _status(deployment, gateways[deployment.environment_id], placements[deployment.registration])
        for deployment in shown
    }


def status_of(deployment: Deployment) -> DeploymentStatus:
    """The status of one deployment."""
    return statuses([deployment])[deployment.pk]


def _status(deployment: Deployment, gateways: list[Gateway], placements: dict[UUID, Placement]) -> DeploymentStatus:
    progress = tuple(
        _progress(gateway, placements.get(gateway.pk), wanted=deployment.release_id is not None)
        for gateway in gateways
        # A gateway on its way out counts only as long as something has to be taken away from it.
        if gateway.leaving_at is None or gateway.pk in placements
    )
    # Where nothing runs, a gateway that never held it has no part in it.
    if deployment.release_id is None:
        progress = tuple(each for each in progress if each.placement is not None)
    adjective = _adjective(deployment, gateways, progress)
    return DeploymentStatus(adjective, _reason(deployment, adjective, progress), progress)


def _progress(gateway: Gateway, placement: Placement | None, *, wanted: bool) -> GatewayProgress:
    if placement is None:
        status = "progressing" if wanted else "removed"
        return GatewayProgress(gateway, None, status, "waits for its turn" if wanted else "never held it", not wanted)
    return GatewayProgress(gateway, placement, placement.status, placement.reason(timezone.now()), placement.settled)


def _adjective(deployment: Deployment, gateways: list[Gateway], progress: Sequence[GatewayProgress]) -> Adjective:
    unsettled = [each for each in progress if not each.confirmed]
    if any(_fails(each) for each in unsettled):
        return "failing"
    if deployment.release_id is None:
        return "removing" if unsettled else "undeployed"
    if not any(gateway.leaving_at is None for gateway in gateways):
        return "waiting"
    return "progressing" if unsettled else "running"


def _fails(progress: GatewayProgress) -> bool:
    """The same as `_FAILING`, of a row that was read."""
    gateway, placement = progress.gateway, progress.placement
    return placement is not None and (
        placement.attempts >= FAILING_AFTER
        or gateway.consecutive_failures >= FAILING_AFTER
        or gateway.status == Gateway.Status.REFUSED
    )


def _reason(deployment: Deployment, adjective: Adjective, progress: Sequence[GatewayProgress]) -> str:
    version = f"version {deployment.release.number}" if deployment.release else ""
    confirmed, total = sum(each.confirmed for each in progress), len(progress)
    match adjective:
        case "undeployed":
            return "nothing should run here"
        case "waiting":
            return f"{version} waits for a gateway in {deployment.environment.slug}; register one"
        case "running":
            return f"{version} on {_count(total)}"
    done = f"acknowledged {version}" if version else "removed it"
    return "; ".join([f"{confirmed} of {_count(total)} {done}", *_named(progress)])


def _named(progress: Sequence[GatewayProgress]) -> list[str]:
    """The gateways that keep it waiting, with why; those that fail first."""
    waiting = [each for each in progress if not each.confirmed]
    waiting.sort(key=lambda each: -(each.placement.attempts if each.placement else 0))
    named = [f"{each.gateway.name}: {_why(each)}" for each in waiting[:_NAMED_GATEWAYS]]
    more = len(waiting) - len(named)
    return [*named, f"and {more} more"] if more else named


def _why(progress: GatewayProgress) -> str:
    """Why a gateway has not confirmed; one that does not answer is the reason behind any other."""
    gateway = progress.gateway
    if gateway.reachable or gateway.status == Gateway.Status.PENDING or gateway.status_reason in progress.reason:
        return progress.reason
    return f"{progress.reason} ({gateway.status}: {gateway.status_reason})"


def _count(gateways: int) -> str:
    return f"{gateways} gateway" if gateways == 1 else f"{gateways} gateways"
