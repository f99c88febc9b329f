"""The start page's facts: what runs where, what needs somebody, how the gateways are, and what happened last."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from apps.audit.models import Event
from apps.core.ports import ports
from apps.core.statuses import look_of
from apps.deployments.models import Deployment, Stop
from apps.deployments.queries import statuses
from apps.deployments.stops.queries import statuses as stop_statuses
from apps.gateways.models import Environment, Gateway
from apps.home.sentences import Sentence, sentence
from apps.telemetry.pulse import Pulse, pulses
from apps.telemetry.queries import by_registration
from apps.telemetry.windows import HOUR

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from apps.agents.models import Agent
    from apps.core.actors import Actor
    from apps.deployments.queries import DeploymentStatus
    from apps.telemetry.queries import Figures

AGENTS_SHOWN = 12
EVENTS_SHOWN = 8
# Below this, a share of errors says more about chance than about an agent.
_ENOUGH_EXECUTIONS = 5
_WORRYING_SHARE = 0.1
# Coming and going belongs into the log, and would push everything else off the start page.
_NO_NEWS = ("user.sign-in", "user.sign-out", "playground.close")
_URGENCY = {"red": 0, "yellow": 1, "blue": 2, "gray": 3, "green": 4}


@dataclass(frozen=True, slots=True)
class Cell:
    """What runs of one agent in one environment; `deployment` is None where it was never deployed."""

    environment: Environment
    deployment: Deployment | None = None
    status: DeploymentStatus | None = None
    pulse: Pulse | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One agent across the environments."""

    agent: Agent
    cells: Sequence[Cell]

    @property
    def urgency(self) -> int:
        """The most urgent status in it; lower comes first."""
        return min((_urgency(cell.status.adjective) for cell in self.cells if cell.status), default=len(_URGENCY))

    @property
    def executions(self) -> int:
        """In the last 24 hours, everywhere."""
        return sum(cell.pulse.executions for cell in self.cells if cell.pulse)


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that is not as it should be, or not yet.

    Attributes:
        kind: `stop`, `deployment`, `gateway` or `errors`.
        since: when it began, as far as that is known.
    """

    kind: str
    subject: str
    address: str
    adjective: str
    reason: str
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Happening:
    """An event and its words."""

    event: Event
    sentence: Sentence


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything on the start page but the chart.

    Attributes:
        rows: agents that were ever deployed, the most urgent and then the busiest first.
        more: how many further agents there are than `rows` shows.
    """

    environments: Sequence[Environment]
    rows: Sequence[Row]
    more: int
    concerns: Sequence[Concern]
    gateways: Sequence[Gateway]
    happenings: Sequence[Happening] = field(default=())

    @property
    def running(self) -> int:
        """How many deployments run as wished."""
        cells = (cell for row in self.rows for cell in row.cells)
        return sum(cell.status is not None and cell.status.adjective == "running" for cell in cells)

    @property
    def alarming(self) -> bool:
        """Whether somebody should look; what is merely under way ends by itself."""
        return any(_urgency(concern.adjective) <= _URGENCY["yellow"] for concern in self.concerns)

    @property
    def answering(self) -> int:
        """How many gateways answer."""
        return sum(gateway.reachable for gateway in self.gateways)


def overview(actor: Actor) -> Overview:
    """What the actor may see of the whole. The number of queries does not grow with agents, gateways or calls."""
    environments = list(ports.visible(Environment.objects.all(), actor, "environment.view"))
    deployments = list(ports.visible(Deployment.objects.with_names(), actor, "deployment.view"))
    gateways = list(ports.visible(Gateway.objects.select_related("environment"), actor, "gateway.view"))
    found = statuses(deployments)
    rows = _rows(deployments, found, environments, pulses(actor))
    concerns = [
        *_stop_concerns(actor),
        *_deployment_concerns(deployments, found),
        *_gateway_concerns(gateways),
        *_error_concerns(deployments, by_registration(actor, HOUR)),
    ]
    return Overview(
        environments=environments,
        rows=rows[:AGENTS_SHOWN],
        more=max(0, len(rows) - AGENTS_SHOWN),
        concerns=sorted(concerns, key=lambda concern: _urgency(concern.adjective)),
        gateways=gateways,
        happenings=_happenings(actor),
    )


def _rows(
    deployments: Iterable[Deployment],
    found: dict[UUID, DeploymentStatus],
    environments: Sequence[Environment],
    running: dict[str, Pulse],
) -> list[Row]:
    cells: dict[Agent, dict[UUID, Cell]] = defaultdict(dict)
    for each in deployments:
        cells[each.agent][each.environment_id] = Cell(
            each.environment, each, found[each.pk], running.get(each.registration)
        )
    rows = [
        Row(agent, [here.get(environment.pk, Cell(environment)) for environment in environments])
        for agent, here in cells.items()
    ]
    return sorted(rows, key=lambda row: (row.urgency, -row.executions, row.agent.name.lower()))


def _stop_concerns(actor: Actor) -> Iterable[Concern]:
    """Every stop that holds: whoever comes here should know, and somebody has to lift it."""
    live = list(ports.visible(Stop.objects.live().select_related("environment"), actor, "stop.view"))
    found = stop_statuses(live) if live else {}
    for stop in live:
        status = found[stop.pk]
        reason = f"{stop.reason.rstrip('.')}; {status.reason}"
        yield Concern(
            "stop", f"{stop.label} {stop.where}", stop.get_absolute_url(), status.adjective, reason, stop.created_at
        )


def _deployment_concerns(deployments: Iterable[Deployment], found: dict[UUID, DeploymentStatus]) -> Iterable[Concern]:
    for each in deployments:
        status, address = found[each.pk], each.get_absolute_url()
        if not status.settled:
            yield Concern("deployment", str(each), address, status.adjective, status.reason, each.updated_at)
        elif each.held:
            reason = f"{each.hold_reason}; automation leaves it alone until {each.held_by} or somebody else lets go"
            yield Concern("deployment", str(each), address, "held", reason, each.held_since)


def _gateway_concerns(gateways: Iterable[Gateway]) -> Iterable[Concern]:
    for each in gateways:
        if each.status != Gateway.Status.HEALTHY or each.leaving_at is not None:
            adjective = "removing" if each.leaving_at is not None else each.status
            yield Concern(
                "gateway", each.name, each.get_absolute_url(), adjective, each.status_reason, each.status_since
            )


def _error_concerns(deployments: Iterable[Deployment], figures: dict[str, Figures]) -> Iterable[Concern]:
    """Deployments whose executions of the last hour failed more often than now and then."""
    for each in deployments:
        seen = figures.get(each.registration)
        if seen is None or seen.ended < _ENOUGH_EXECUTIONS or (seen.error_share or 0) < _WORRYING_SHARE:
            continue
        reason = f"{seen.errors:,} of {seen.ended:,} executions failed in the last hour"
        yield Concern("errors", str(each), each.get_absolute_url(), "degraded", reason)


def _happenings(actor: Actor) -> list[Happening]:
    """The latest events; what a command did by other commands stands under it in the log."""
    told = Event.objects.filter(parent=None).exclude(action__in=_NO_NEWS)
    events = ports.visible(told, actor, "event.view").order_by("-sequence")
    return [Happening(event, sentence(event)) for event in events[:EVENTS_SHOWN]]


def _urgency(adjective: str) -> int:
    return _URGENCY[look_of(adjective).tint]
