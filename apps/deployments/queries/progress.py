"""How far a rollout came, and what it waits for: what its page draws and the API answers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from django.utils import timezone

from apps.deployments.models import Rollout, RolloutStep
from apps.deployments.rollouts.course import Ahead, look_ahead
from apps.deployments.rollouts.fleets import Fleet, begun_waves, gateways_of, placements_of, standings
from apps.deployments.rollouts.judging import compare
from apps.deployments.strategies.plans import Plan
from apps.deployments.strategies.waves import Member, members_of_wave, waves_of
from apps.gateways.models import Gateway, Placement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from typing import Any
    from uuid import UUID

    from apps.gateways.models import Environment
    from apps.telemetry.comparison import ReleaseFigures

StepState = Literal["waiting", "placing", "soaking", "judging", "approval", "paused", "done", "degraded", "abandoned"]
STEP_STATES: tuple[StepState, ...] = (
    "waiting", "placing", "soaking", "judging", "approval", "paused", "done", "degraded", "abandoned",
)  # fmt: skip
GatewayState = Literal["waiting", "wanted", "confirmed", "failing"]
GATEWAY_STATES: tuple[GatewayState, ...] = ("waiting", "wanted", "confirmed", "failing")
# So many pushes or polls in a row failed that "progressing" would be a promise nobody can keep.
FAILING_AFTER = 5
_STATES: dict[str, StepState] = {
    "confirmation": "placing", "soak": "soaking", "executions": "judging", "approval": "approval", "resume": "paused",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class GatewayInStep:
    """A gateway that a step concerns.

    Attributes:
        state: `waiting` until the step begins (and then the step may still come to another one), `wanted` until it
            has confirmed, `failing` while it does not answer.
        reason: what it waits for, or what it said.
    """

    gateway: Gateway
    state: GatewayState
    reason: str = ""
    next_attempt_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StepProgress:
    """One step of a rollout.

    Attributes:
        title: “wave 2 of 3”, “canary at 25 %”, “promotion”.
        reach: “3 gateways”, “25 % of the gateways”, “25 % of the callers”.
        waits_for: in words, with until when; "" where it waits for nothing.
        next_at: when it goes on, or is looked at again, by itself.
        judged: what its gate found last, in words; "" before or without.
    """

    step: RolloutStep
    title: str
    reach: str
    state: StepState
    gateways: tuple[GatewayInStep, ...] = ()
    waits_for: str = ""
    next_at: datetime | None = None
    judged: str = ""

    @property
    def number(self) -> int:
        return self.step.index + 1

    @property
    def confirmed(self) -> int:
        return sum(each.state == "confirmed" for each in self.gateways)

    @property
    def verdict(self) -> dict[str, Any] | None:
        """The newest comparison of its gate; see `strategies.gates.Verdict.to_json`."""
        found: dict[str, Any] | None = self.step.verdict
        return found


@dataclass(frozen=True, slots=True)
class RolloutProgress:
    """A rollout as it is now.

    Attributes:
        current: the step that is not finished; None once it is over.
        summary: where it stands and what it waits for, in one line.
        next_at: when something happens by itself; None if somebody has to act, or nothing is left.
        old, new: what both releases did since the present step is watched, or, once it is over, all the while; None
            where there is no such release.
        approvable: whether its step waits for somebody's approval.
    """

    rollout: Rollout
    plan: Plan
    steps: tuple[StepProgress, ...]
    current: StepProgress | None
    summary: str
    next_at: datetime | None
    old: ReleaseFigures | None
    new: ReleaseFigures | None

    @property
    def approvable(self) -> bool:
        return self.current is not None and self.current.state == "approval"

    @property
    def forceable(self) -> bool:
        """Whether there is anything that could be skipped."""
        return self.current is not None and self.current.step.started_at is not None

    @property
    def percent_of_callers(self) -> int:
        """The part of the callers that a canary has now; 0 without one."""
        newest = [each.step for each in self.steps if each.step.started_at is not None][-1:]
        return (newest[0].reach.percent or 0) if newest and newest[0].kind == RolloutStep.Kind.WEIGHT else 0


def progress_of(rollout: Rollout) -> RolloutProgress:
    """How far a rollout came, gateway by gateway."""
    deployment = rollout.deployment
    steps = list(rollout.steps.order_by("index"))
    gateways = list(Gateway.objects.filter(environment=deployment.environment_id).order_by("name"))
    placements = list(placements_of([deployment.registration]).explained())
    view = RolloutView(rollout, steps, gateways, placements, gateways_of(steps), timezone.now())
    shown = tuple(view.step(step) for step in steps)
    current = next((each for each in shown if each.step.finished_at is None), None) if view.under_way else None
    since = current.step.watched_since if current is not None else None
    old, new = compare(rollout, since or rollout.created_at, until=rollout.finished_at)
    return RolloutProgress(
        rollout, Plan.from_json(rollout.plan), shown, current, view.summary, view.ahead.until, old, new
    )


def preview(plan: Plan, environment: Environment) -> list[tuple[str, list[Gateway]]]:
    """The gateways that each step of a plan would reach, were it to begin now, each under the step's reach in words."""
    gateways = list(Gateway.objects.serving().filter(environment=environment).order_by("name"))
    if plan.strategy == "canary":
        return [(f"{step.share} of the callers", gateways) for step in plan.steps]
    shares = [step.share for step in plan.steps]
    waves = waves_of(shares, [Member(each.pk, each.name, each.labels) for each in gateways])
    by_id = {gateway.pk: gateway for gateway in gateways}
    return [(_reach(str(share)), [by_id[pk] for pk in wave]) for share, wave in zip(shares, waves, strict=True)]


class RolloutView:
    """A rollout seen through rows that were read for it, or for many at once. Reads nothing itself.

    Args:
        gateways: of the environment, ordered by name.
        placements: of the registration, with their gateways.
        within: the gateways of steps; those of waves that have begun, at least.
    """

    def __init__(
        self,
        rollout: Rollout,
        steps: Sequence[RolloutStep],
        gateways: Sequence[Gateway],
        placements: Sequence[Placement],
        within: Mapping[UUID, frozenset[UUID]],
        now: datetime,
    ) -> None:
        self.rollout, self.steps, self.now = rollout, steps, now
        self._within = within
        self.under_way = rollout.state == Rollout.State.PROGRESSING
        self.gateways = {gateway.pk: gateway for gateway in gateways}
        self._placements: dict[UUID, list[Placement]] = defaultdict(list)
        for placement in placements:
            self._placements[placement.gateway_id].append(placement)
        serving = [gateway for gateway in gateways if gateway.leaving_at is None]
        self.fleet = Fleet(
            rollout,
            tuple(steps),
            tuple(Member(each.pk, each.name, each.labels) for each in serving),
            standings(rollout.deployment.registration, placements),
            {step.pk: within[step.pk] for step in begun_waves(steps)},
        )
        self.ahead = look_ahead(self.fleet, now, judged=True) if self.under_way and steps else Ahead()

    @property
    def watched(self) -> bool:
        """Whether there is more to say about it than which gateways have confirmed."""
        return len(self.steps) > 1 or any(
            step.soak_s or step.approval or step.verdict or step.judged_at for step in self.steps
        )

    @property
    def summary(self) -> str:
        """Where it stands and what it waits for: “wave 2 of 3: 3 of 5 gateways acknowledged; soaks until 12:03:10”."""
        if not self.under_way:
            return self.rollout.reason or self.rollout.state
        current = self.fleet.current
        if current is None:
            return "finishes"
        shown = self.step(current)
        parts = []
        if current.started_at is not None and current.placed_at is None:
            total = len(shown.gateways)
            parts.append(f"{shown.confirmed} of {counted(total)} acknowledged")
        if self.rollout.retry_at is not None:
            parts.append(self._failing())
        parts += [part for part in (shown.waits_for, shown.judged) if part]
        return f"{shown.title}: {'; '.join(parts)}" if parts else shown.title

    def step(self, step: RolloutStep) -> StepProgress:
        """One of its steps."""
        current = self.under_way and self.fleet.current is not None and step.pk == self.fleet.current.pk
        return StepProgress(
            step,
            title=self._title(step),
            reach=_reach(step.share) if step.kind == RolloutStep.Kind.WAVE else f"{step.share} of the callers",
            state=self._state(step, current=current),
            gateways=tuple(self._gateways(step)),
            waits_for=self._waits_for() if current else "",
            next_at=self.ahead.until if current else None,
            judged=_judged(step),
        )

    def _title(self, step: RolloutStep) -> str:
        if step.kind == RolloutStep.Kind.PROMOTE:
            return "promotion"
        if step.kind == RolloutStep.Kind.WEIGHT:
            return f"canary at {step.share}"
        return f"wave {step.index + 1} of {len(self.steps)}" if len(self.steps) > 1 else "all at once"

    def _state(self, step: RolloutStep, *, current: bool) -> StepState:
        if step.finished_at is not None:
            last = step == max((each for each in self.steps if each.finished_at), key=lambda each: each.index)
            return "degraded" if last and self.rollout.state == Rollout.State.DEGRADED else "done"
        if not self.under_way:
            return "abandoned"
        if not current or step.started_at is None:
            return "paused" if current and self.rollout.paused else "waiting"
        return _STATES.get(self.ahead.waits_for or "", "placing" if step.placed_at is None else "soaking")

    def _waits_for(self) -> str:
        until = f"{self.ahead.until:%H:%M:%S} UTC" if self.ahead.until else ""
        step = self.fleet.current
        match self.ahead.waits_for:
            case "resume":
                return f"paused by {self.rollout.paused_by}: {self.rollout.pause_reason}"
            case "gateway":
                return f"waits for a gateway in {self.rollout.deployment.environment}; register one"
            case "soak" if step is not None and step.soaks_until is not None:
                return f"soaks until {step.soaks_until:%H:%M:%S} UTC"
            case "executions":
                return f"waits for executions, looked at again at {until}"
            case "approval":
                return "waits for approval"
        return ""

    def _failing(self) -> str:
        times = "" if self.rollout.failures == 1 else f" {self.rollout.failures} times in a row"
        again = f"tries again at {self.rollout.retry_at:%H:%M:%S} UTC"
        return f"Studio itself failed{times} to go on ({self.rollout.failure}, see its log) and {again}"

    def _gateways(self, step: RolloutStep) -> Iterable[GatewayInStep]:
        inside = self._within.get(step.pk, frozenset())
        if not self.under_way:
            return [GatewayInStep(gateway, "confirmed") for pk, gateway in self.gateways.items() if pk in inside]
        if step.started_at is None:
            return [GatewayInStep(self.gateways[pk], "waiting") for pk in self._expected(step)]
        if step.finished_at is not None and not step.everywhere:
            return [self._gateway(pk) for pk in self.gateways if pk in inside]
        return [self._gateway(pk) for pk in self.fleet.concerned(step)]

    def _expected(self, step: RolloutStep) -> Sequence[UUID]:
        """Whom a step that has not begun would concern, were the fleet to stay as it is."""
        if step.kind != RolloutStep.Kind.WAVE:
            return [member.gateway for member in self.fleet.members]
        taken = set(self.fleet.taken)
        for each in self.steps:
            if each.started_at is None:
                wave = members_of_wave(each.reach, self.fleet.members, taken)
                if each.pk == step.pk:
                    return wave
                taken.update(wave)
        return ()

    def _gateway(self, pk: UUID) -> GatewayInStep:
        gateway, rows = self.gateways[pk], self._placements.get(pk, [])
        if self.fleet.moves(pk).done:
            return GatewayInStep(gateway, "confirmed", "confirmed")
        waiting = next((row for row in rows if not row.settled), None)
        if waiting is None:
            return GatewayInStep(gateway, "wanted", "waits for its turn")
        failing = waiting.attempts > 0 or not (gateway.reachable or gateway.status == Gateway.Status.PENDING)
        return GatewayInStep(gateway, "failing" if failing else "wanted", waiting.reason(self.now), waiting.next_act_at)


def _reach(share: str) -> str:
    if share.isdigit():
        return counted(int(share))
    return f"{share} of the gateways" if share.endswith("%") else share


def _judged(step: RolloutStep) -> str:
    reasons = (step.verdict or {}).get("reasons") or []
    return "; ".join(reasons)


def counted(gateways: int) -> str:
    """`1 gateway`, `3 gateways`."""
    return f"{gateways} gateway" if gateways == 1 else f"{gateways} gateways"
