"""The kill switch. Each begins, or ends, in one act; both need a reason.

Whoever deploys locks the environment and then the agent. A stop takes the environments first, too, and so never waits
in a circle with a deploy: it decides on the agent, the release or the member, and leaves their rows alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone

from apps.accounts.models import User
from apps.agents.models import Agent
from apps.core.actors import Actor
from apps.core.commands import command
from apps.core.commands import note as add_to_event
from apps.core.errors import Conflict, Invalid
from apps.core.live import hint
from apps.deployments import rollouts
from apps.deployments.commands.conditions import checked_note
from apps.deployments.models import Deployment, Rollout, Stop
from apps.deployments.stops.course import gateways_of
from apps.deployments.stops.coverage import in_words, stops_of
from apps.deployments.stops.kind import STOP, want_everywhere
from apps.gateways import placements
from apps.gateways.models import Environment, Placement
from contract.stops import STOPPED_MAX

if TYPE_CHECKING:
    from typing import Any

    from apps.deployments.models import Release


@command("stop.agent", on="agent", locks=False)
def stop_agent(*, actor: Actor, agent: Agent, reason: str, environment: Environment | None = None) -> Stop:
    """Stop an agent, whatever its release: what runs is cancelled, and nothing of it begins.

    Args:
        environment: None for all of them, also future ones.
        reason: why; required.

    Raises:
        Conflict: it is stopped there already.
        Invalid: there is no reason, or it is too long.
    """
    return _start(
        actor, environment, reason, subject=Stop.Subject.AGENT, label=agent.name, agent=agent, slugs=[agent.slug]
    )


@command("stop.release", on="release", locks=False)
def stop_release(*, actor: Actor, release: Release, reason: str, environment: Environment | None = None) -> Stop:
    """Stop one release, under whatever name it runs. Other releases of the agent go on.

    Raises:
        Conflict: it is stopped there already.
        Invalid: there is no reason, or it is too long.
    """
    return _start(
        actor, environment, reason, subject=Stop.Subject.RELEASE, label=str(release), release=release,
        digests=[release.digest],
    )  # fmt: skip


@command("stop.author", on="author", locks=False)
def stop_author(*, actor: Actor, author: User, reason: str, environment: Environment | None = None) -> Stop:
    """Stop every agent that a member owns, and keep what they own later from being deployed.

    Raises:
        Conflict: the member owns no agent, or more than one stop can name; or is stopped there already.
        Invalid: there is no reason, or it is too long.
    """
    environments = _locked(environment)
    # Locked after the environments and before reading: an agent that is handed over now goes before or after all this.
    author = User.objects.select_for_update(of=("self",), no_key=True).get(pk=author.pk)
    slugs = sorted(Agent.objects.filter(owner=author).values_list("slug", flat=True))
    if not slugs:
        raise Conflict(f"{author} owns no agent, so there is nothing to stop.")
    if len(slugs) > STOPPED_MAX:
        raise Conflict(f"{author} owns {len(slugs)} agents; one stop names at most {STOPPED_MAX}.")
    add_to_event(agents=slugs)
    return _start(
        actor, environment, reason, environments, subject=Stop.Subject.AUTHOR, label=author.email, author=author,
        slugs=slugs,
    )  # fmt: skip


@command("stop.lift", on="stop")
def lift_stop(*, actor: Actor, stop: Stop, reason: str) -> Stop:
    """End a stop: what it covered may run again, on every gateway, from the release that is deployed there.

    Raises:
        Conflict: it was lifted before.
        Invalid: there is no reason, or it is too long.
    """
    reason = _checked_reason(reason)
    if not stop.live:
        raise Conflict(f"{stop} was lifted by {stop.lifted_by} already.")
    stop.lifted_at, stop.lifted_by, stop.lift_reason = timezone.now(), actor.label, reason
    stop.save(update_fields=["lifted_at", "lifted_by", "lift_reason", "updated_at"])
    want_everywhere(stop, _locked(stop.environment))
    for resource in ("stop", "deployment"):
        hint(resource)
    return stop


@command("stop.retry", on="stop")
def retry_stop(*, actor: Actor, stop: Stop) -> Stop:
    """Try the gateways that have not confirmed again now. They are tried every second anyway.

    Raises:
        Conflict: every gateway has confirmed.
    """
    waiting = list(Placement.objects.of(STOP.name, stop.public_id).unsettled().select_related("gateway"))
    if not waiting:
        raise Conflict("Every gateway has confirmed; there is nothing to retry.")
    placements.retry(waiting)
    add_to_event(gateways=sorted(placement.gateway.name for placement in waiting))
    return stop


def _start(
    actor: Actor, environment: Environment | None, reason: str, environments: list[Environment] | None = None, **of: Any
) -> Stop:
    reason = _checked_reason(reason)
    locked = environments if environments is not None else _locked(environment)
    subject = {name: of[name] for name in ("agent", "release", "author") if name in of}
    same = Stop.objects.live().filter(environment=environment, **subject).first()
    if same is not None:
        raise Conflict(f"{same.label} is stopped {same.where} already, by {same.started_by}: {same.reason}.")
    stop = Stop(environment=environment, reason=reason, started_by=actor.label, **of)
    stop.gateways = list(gateways_of(stop).values_list("name", flat=True))
    stop.save(force_insert=True)
    add_to_event(gateways=stop.gateways, where=stop.where)
    want_everywhere(stop, locked)
    _pause_rollouts(stop, locked)
    for resource in ("stop", "deployment"):
        hint(resource)
    return stop


def _pause_rollouts(stop: Stop, environments: list[Environment]) -> None:
    """Let no rollout of what is stopped go on by itself: its steps would be judged by executions that cannot be.

    Somebody resumes it once the stop is lifted. What is sent to all gateways at once and not compared decides nothing.
    """
    progressing = Deployment.objects.filter(environment__in=environments, rollouts__state=Rollout.State.PROGRESSING)
    # Locked as whoever goes on with a rollout does, after the environments.
    locked = progressing.select_for_update(of=("self",), no_key=True).select_related("agent", "release")
    covered = stops_of(locked.order_by("pk"))
    rows = rollouts.under_way().filter(deployment__in=covered, paused_at=None)
    for rollout in rows:
        if rollout.decides and covered[rollout.deployment_id].pk == stop.pk:
            rollouts.pause(rollout, Actor.system(), in_words(stop))


def _locked(environment: Environment | None) -> list[Environment]:
    """The environments that are concerned, locked in one order for all."""
    concerned = Environment.objects.select_for_update(no_key=True).order_by("pk")
    return list(concerned if environment is None else concerned.filter(pk=environment.pk))


def _checked_reason(reason: str) -> str:
    """The reason without surrounding space.

    Raises:
        Invalid: there is none, it is too long, or it holds what cannot be shown.
    """
    try:
        checked = checked_note(reason)
    except Invalid as error:
        raise Invalid(fields={"reason": error.fields["note"]}) from None
    if not checked:
        raise Invalid(fields={"reason": ["Say why: the reason stands wherever the stop is felt."]})
    return checked
