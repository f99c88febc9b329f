"""Going on with rollouts that are under way, and taking back what turns out to be worse."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import structlog
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from apps.core.actors import Actor
from apps.core.commands import bookkeeping, record_system_event
from apps.core.live import hint
from apps.deployments.models import NOTE_MAX_LENGTH, Deployment, Rollout, RolloutStep
from apps.deployments.models.rollouts import FAILURE_MAX_LENGTH
from apps.deployments.rollouts.beginning import PLANNED, start
from apps.deployments.rollouts.course import look_ahead, step_on, steps_of, watch
from apps.deployments.rollouts.fleets import Fleet
from apps.deployments.stops.coverage import covering, in_words, stop_of_release
from apps.gateways.models import Environment

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models import QuerySet

    from apps.deployments.models import Release
    from apps.gateways.models import Gateway

log = structlog.get_logger(__name__)

_NAMES = (
    "deployment__environment",
    "deployment__agent",
    "to_release__agent_version__agent",
    "from_release__agent_version__agent",
)
_SOON = timedelta(seconds=0.5)
_LATEST_RETRY = timedelta(minutes=1)


def advance(rollout: Rollout) -> None:
    """Take the rollout's next steps, if there are any. Cheap when there are none, and safe to repeat."""
    if look_ahead(Fleet.read(rollout, steps_of(rollout)), timezone.now()).move is None:
        return
    with bookkeeping():
        # The order of locks of every command; see `BaseModel.locked_under`.
        Environment.objects.select_for_update(of=("self",), no_key=True).get(pk=rollout.deployment.environment_id)
        Deployment.objects.select_for_update(of=("self",), no_key=True).get(pk=rollout.deployment_id)
        fresh = under_way().filter(pk=rollout.pk).first()
        if fresh is None:
            return
        _pause_if_stopped(fresh)
        if step_on(fresh).move == "fall-back":
            _fall_back(fresh)


def advance_all() -> None:
    """Look at every rollout that is under way in the present organization. One that cannot go on stops no other."""
    looked_at = Rollout.objects.filter(state=Rollout.State.PROGRESSING).exclude(retry_at__gt=timezone.now())
    # Mostly there is none, and a question for keys alone costs a fifth of one for the rollouts with all their names.
    for key in looked_at.values_list("pk", flat=True):
        rollout = under_way().filter(pk=key).first()
        if rollout is None:
            continue
        try:
            advance(rollout)
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:  # whatever is wrong with one rollout: it is tried again, and its page says so
            log.exception("rollout_stuck", rollout=str(rollout.pk), registration=rollout.deployment.registration)
            _fail(rollout, error)
        else:
            if rollout.failures:
                Rollout.objects.filter(pk=rollout.pk).update(failures=0, failure="", retry_at=None)


def _fail(rollout: Rollout, error: Exception) -> None:
    """Try it again later, and ever later. What the error says stays in the log: nobody knows what it repeats."""
    failures = rollout.failures + 1
    delay = min(_SOON * 2 ** min(failures, 10), _LATEST_RETRY)
    Rollout.objects.filter(pk=rollout.pk).update(
        failures=failures, failure=type(error).__name__[:FAILURE_MAX_LENGTH], retry_at=timezone.now() + delay
    )
    hint("rollout")


def under_way() -> QuerySet[Rollout]:
    """The rollouts that are not over."""
    progressing = Rollout.objects.filter(state=Rollout.State.PROGRESSING).select_related(*_NAMES)
    # Every look at a rollout needs the digests of its releases, and only few their bodies.
    return progressing.defer("from_release__body", "to_release__body")


def joining_release(rollout: Rollout, gateway: Gateway) -> Release | None:
    """What a gateway that joins in the middle of a rollout gets first; the rest follows with the next look at it."""
    shape = Fleet.read(rollout, steps_of(rollout)).shape(gateway.pk)
    releases = (rollout.from_release, rollout.to_release)
    return next((each for each in releases if each is not None and each.digest == shape.release), None)


def next_due() -> datetime | None:
    """The next moment at which time alone lets a rollout go on.

    A soak ends, its executions are looked at again, or what failed is tried again.
    """
    under_way = Rollout.objects.filter(state=Rollout.State.PROGRESSING)
    retries = under_way.filter(retry_at__isnull=False).values_list("retry_at", flat=True)
    moments = [moment for moment in retries if moment is not None]
    begun = RolloutStep.objects.filter(
        rollout__in=under_way.filter(paused_at=None, retry_at=None), finished_at=None, started_at__isnull=False
    )
    now = timezone.now()
    for step in begun.select_related("rollout"):
        ahead = watch(step.rollout, step, now)
        if ahead.move is not None:
            # It became due after it was looked at.
            moments.append(now + _SOON)
        elif ahead.until is not None:
            moments.append(ahead.until)
    return min(moments, default=None)


def _pause_if_stopped(rollout: Rollout) -> None:
    """Let nothing be rolled out further that must not run: nobody could tell how it does.

    What decides nothing goes on: every gateway has what is wanted, and once the stop is lifted nobody has to resume.
    """
    if rollout.paused or rollout.to_release is None or rollout.kind not in PLANNED or not rollout.decides:
        return
    deployment = rollout.deployment
    stop = covering(deployment.agent, deployment.environment, rollout.to_release)
    if stop is not None:
        pause(rollout, Actor.system(), in_words(stop))


def _fall_back(rollout: Rollout) -> None:
    """Take a release back that is worse than the one before, and hold the deployment there; or pause for a person."""
    deployment = rollout.deployment
    step = next(step for step in steps_of(rollout) if step.finished_at is None)
    verdict = step.verdict or {}
    found = "; ".join(verdict.get("reasons", ()))
    good, bad = deployment.stable_release, rollout.to_release
    if bad is None:
        return
    why = _why_not_back(deployment, good, bad)
    if good is None or why:
        pause(rollout, Actor.system(), f"{bad} is degraded: {found}; {why}")
        return
    reason = f"version {bad.number} is degraded: {found}"[:NOTE_MAX_LENGTH]
    RolloutStep.objects.filter(pk=step.pk).update(finished_at=timezone.now(), decision=f"degraded: {found}"[:1000])
    record_system_event(
        "rollout.degrade",
        rollout,
        registration=deployment.registration,
        version=bad.number,
        back_to=good.number,
        step=step.index + 1,
        reasons=verdict.get("reasons"),
        old=verdict.get("old"),
        new=verdict.get("new"),
    )
    actor = Actor.system()
    deployment.held_since, deployment.held_by = timezone.now(), actor.label
    deployment.hold_reason = f"{reason}; rolled back to version {good.number}"[:NOTE_MAX_LENGTH]
    start(
        deployment,
        kind=Rollout.Kind.ROLLBACK,
        to=good,
        actor=actor,
        note=reason,
        instead=(Rollout.State.DEGRADED, reason),
    )


def _why_not_back(deployment: Deployment, good: Release | None, bad: Release) -> str:
    """Why a person has to decide what runs instead of a degraded release; "" where Studio itself may go back."""
    if deployment.held:
        return "it is held"
    if good is None or good.pk == bad.pk:
        return "there is no earlier good release to go back to"
    stop = stop_of_release(good, deployment.environment)
    return f"{good} is stopped itself, so nobody would be answered: {in_words(stop)}" if stop is not None else ""


def pause(rollout: Rollout, actor: Actor, reason: str) -> None:
    """Let a rollout take no further step; what it has begun, gateways still receive."""
    rollout.paused_at, rollout.paused_by = timezone.now(), actor.label
    rollout.pause_reason = reason[:NOTE_MAX_LENGTH]
    rollout.save(update_fields=["paused_at", "paused_by", "pause_reason", "updated_at"])
    if actor.kind == "system":
        record_system_event(
            "rollout.pause", rollout, registration=rollout.deployment.registration, reason=rollout.pause_reason
        )
    hint("rollout")
