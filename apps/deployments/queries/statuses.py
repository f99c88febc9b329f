"""What stands where: the status of deployments, read from the placements of this moment."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from django.db.models import Case, CharField, Exists, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Concat
from django.utils import timezone

from apps.deployments.models import Rollout, RolloutStep, Stop
from apps.deployments.queries.progress import FAILING_AFTER, RolloutView, counted
from apps.deployments.rollouts.fleets import begun_waves, gateways_of, placements_of
from apps.deployments.stops.coverage import in_words, stops_of
from apps.gateways.models import Gateway, Placement
from contract.kinds import ROUTE, WORKFLOW
from contract.names import canary_name, registration_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from apps.deployments.models import Deployment, DeploymentQuerySet

Adjective = Literal["stopped", "running", "progressing", "paused", "failing", "waiting", "removing", "undeployed"]
ADJECTIVES: tuple[Adjective, ...] = get_args(Adjective)
_FAILING = (
    Q(attempts__gte=FAILING_AFTER)
    | Q(gateway__consecutive_failures__gte=FAILING_AFTER)
    | Q(gateway__status=Gateway.Status.REFUSED)
)
_NAMED_GATEWAYS = 2
_ROWS_IN_SIGHT = 12


@dataclass(frozen=True, slots=True)
class GatewayProgress:
    """Where one gateway stands.

    Attributes:
        placement: of its release, or of its canary or route if only that is not as wanted; None where nothing was
            ever wanted of it.
        status, reason: as `Placement` says them.
        confirmed: whether it was seen to hold what is wanted.
    """

    gateway: Gateway
    placement: Placement | None
    status: str
    reason: str
    confirmed: bool

    @property
    def well(self) -> bool:
        """Whether nobody has to look at it: the gateway is healthy and holds what is wanted."""
        return self.confirmed and self.gateway.status == Gateway.Status.HEALTHY

    @property
    def next_attempt_at(self) -> datetime | None:
        """When it is tried next; None where nothing is left to try."""
        return self.placement.next_act_at if self.placement is not None else None


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
    def in_sight(self) -> list[GatewayProgress]:
        """All gateways that are not well, then a few of the others."""
        return self._by_need[: max(_ROWS_IN_SIGHT, sum(not each.well for each in self.gateways))]

    @property
    def folded(self) -> list[GatewayProgress]:
        """The gateways beyond `in_sight`, every one of them well."""
        return self._by_need[len(self.in_sight) :]

    @property
    def _by_need(self) -> list[GatewayProgress]:
        return sorted(self.gateways, key=lambda each: each.well)

    @property
    def total(self) -> int:
        return len(self.gateways)

    @property
    def settled(self) -> bool:
        """Whether nothing is under way."""
        return self.adjective in ("stopped", "running", "undeployed")


def with_adjective(deployments: DeploymentQuerySet) -> QuerySet[Deployment]:
    """Annotate `adjective`, so that lists can be filtered and sorted by it in SQL. `statuses` says the same."""
    name = OuterRef("registration")
    workflows = Q(kind=WORKFLOW.name) & (Q(name=name) | Q(name=Concat(name, Value(canary_name("")))))
    here = Placement.objects.filter(
        workflows | Q(kind=ROUTE.name, name=name), gateway__environment=OuterRef("environment")
    )
    rollouts = Rollout.objects.filter(deployment=OuterRef("pk"), state=Rollout.State.PROGRESSING)
    serving = Gateway.objects.serving().filter(environment=OuterRef("environment"))
    unsettled, gone = Exists(here.unsettled()), Q(release=None)
    return deployments.annotate(
        adjective=Case(
            When(~gone & Exists(_stops()), then=Value("stopped")),
            When(Exists(here.unsettled().filter(_FAILING)), then=Value("failing")),
            When(gone & Q(unsettled), then=Value("removing")),
            When(gone, then=Value("undeployed")),
            When(~Exists(serving), then=Value("waiting")),
            When(Exists(rollouts.exclude(paused_at=None)), then=Value("paused")),
            When(unsettled | Exists(rollouts), then=Value("progressing")),
            default=Value("running"),
            output_field=CharField(),
        )
    )


def _stops() -> QuerySet[Stop]:
    """The live stops that cover a deployment, for a subquery; `stops.coverage` says the same of rows that were read."""
    where = Q(environment=None) | Q(environment=OuterRef("environment"))
    of = (
        Q(slugs__contains=[OuterRef("agent__slug")])
        | Q(digests__contains=[OuterRef("release__digest")])
        | Q(author=OuterRef("agent__owner"))
    )
    return Stop.objects.live().filter(where, of)


def statuses(deployments: Iterable[Deployment]) -> dict[UUID, DeploymentStatus]:
    """The status of each deployment, by primary key, in four queries, and one more if waves are under way."""
    shown = list(deployments)
    placements: dict[str, list[Placement]] = defaultdict(list)
    rows = placements_of([deployment.registration for deployment in shown]).explained()
    for placement in rows.order_by("-kind", "name"):
        placements[registration_of(placement.name)].append(placement)
    gateways: dict[UUID, list[Gateway]] = defaultdict(list)
    environments = {deployment.environment_id for deployment in shown}
    for gateway in Gateway.objects.filter(environment__in=environments).order_by("name"):
        gateways[gateway.environment_id].append(gateway)
    under_way: dict[UUID, list[RolloutStep]] = defaultdict(list)
    for step in _steps_under_way(shown):
        under_way[step.rollout.deployment_id].append(step)
    stops = stops_of(shown)
    within = gateways_of(begun_waves(step for steps in under_way.values() for step in steps))
    now = timezone.now()
    return {
        deployment.pk: _status(
            deployment,
            gateways[deployment.environment_id],
            placements[deployment.registration],
            _Course(under_way[deployment.pk], within) if under_way[deployment.pk] else None,
            stops.get(deployment.pk),
            now,
        )
        for deployment in shown
    }


@dataclass(frozen=True, slots=True)
class _Course:
    """The rollout that is under way, as rows that were read for many deployments at once."""

    steps: Sequence[RolloutStep]
    within: Mapping[UUID, frozenset[UUID]]

    @property
    def rollout(self) -> Rollout:
        return self.steps[0].rollout


def _steps_under_way(deployments: Sequence[Deployment]) -> QuerySet[RolloutStep]:
    steps = RolloutStep.objects.filter(rollout__deployment__in=deployments, rollout__state=Rollout.State.PROGRESSING)
    names = ("rollout__deployment__environment", "rollout__from_release", "rollout__to_release")
    bodies = ("rollout__from_release__body", "rollout__to_release__body")
    return steps.select_related(*names).defer(*bodies).order_by("rollout", "index")


def status_of(deployment: Deployment) -> DeploymentStatus:
    """The status of one deployment."""
    return statuses([deployment])[deployment.pk]


def _status(
    deployment: Deployment,
    gateways: list[Gateway],
    placements: list[Placement],
    course: _Course | None,
    stop: Stop | None,
    now: datetime,
) -> DeploymentStatus:
    held: dict[UUID, list[Placement]] = defaultdict(list)
    for placement in placements:
        held[placement.gateway_id].append(placement)
    progress = tuple(
        _progress(gateway, held[gateway.pk], wanted=deployment.release_id is not None, now=now)
        for gateway in gateways
        # A gateway on its way out counts only as long as something has to be taken away from it.
        if gateway.leaving_at is None or held[gateway.pk]
    )
    # Where nothing runs, a gateway that never held it has no part in it.
    if deployment.release_id is None:
        progress = tuple(each for each in progress if each.placement is not None)
    if stop is not None and deployment.release_id is not None:
        return DeploymentStatus("stopped", in_words(stop), progress)
    adjective = _adjective(deployment, gateways, progress, course.rollout if course is not None else None)
    reason = _reason(deployment, adjective, progress)
    if course is not None and adjective in ("progressing", "paused", "failing"):
        view = RolloutView(course.rollout, course.steps, gateways, placements, course.within, now)
        if view.watched:
            reason = "; ".join([view.summary, *_named(progress)])
    return DeploymentStatus(adjective, reason, progress)


def _progress(gateway: Gateway, placements: Sequence[Placement], *, wanted: bool, now: datetime) -> GatewayProgress:
    if not placements:
        status = "progressing" if wanted else "removed"
        return GatewayProgress(gateway, None, status, "waits for its turn" if wanted else "never held it", not wanted)
    told = next((each for each in placements if not each.settled), placements[0])
    return GatewayProgress(gateway, told, told.status, told.reason(now), told.settled)


def _adjective(
    deployment: Deployment, gateways: list[Gateway], progress: Sequence[GatewayProgress], rollout: Rollout | None
) -> Adjective:
    unsettled = [each for each in progress if not each.confirmed]
    if any(_fails(each) for each in unsettled):
        return "failing"
    if deployment.release_id is None:
        return "removing" if unsettled else "undeployed"
    if not any(gateway.leaving_at is None for gateway in gateways):
        return "waiting"
    if rollout is not None:
        return "paused" if rollout.paused else "progressing"
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
            return f"{version} on {counted(total)}"
    done = f"acknowledged {version}" if version else "removed it"
    return "; ".join([f"{confirmed} of {counted(total)} {done}", *_named(progress)])


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
