"""What a stop covers, and what that forbids in Studio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Q

from apps.core.errors import Conflict
from apps.deployments.models import Stop
from contract.names import registration_name
from contract.stops import Stop as StopDocument

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from apps.accounts.models import User
    from apps.agents.models import Agent
    from apps.deployments.models import Deployment, Release, StopQuerySet
    from apps.gateways.models import Environment


def body_for(stop: Stop, environment: Environment) -> bytes:
    """The canonical payload for the gateways of an environment: the same for all, and the same whenever it is asked."""
    registrations = [registration_name(slug, environment.slug) for slug in sorted(stop.slugs)]
    return StopDocument(registrations=registrations, releases=sorted(stop.digests)).canonical


def covering(agent: Agent, environment: Environment, release: Release | None = None) -> Stop | None:
    """The oldest stop because of which the agent, or this release of it, must not run in the environment."""
    covers = Q(slugs__contains=[agent.slug])
    if agent.owner_id is not None:
        # What an author owns since the stop began runs nowhere yet; it is kept from being deployed.
        covers |= Q(author=agent.owner_id)
    if release is not None:
        covers |= Q(digests__contains=[release.digest])
    stops: StopQuerySet = Stop.objects.live().in_environment(environment)
    return stops.filter(covers).select_related("environment").order_by("created_at").first()


def refuse_stopped(agent: Agent, environment: Environment, release: Release) -> None:
    """Let nothing be deployed that would not run. The caller has the environment locked, as whoever stops has.

    Raises:
        Conflict: a stop covers it; the message names it and says what would end it.
    """
    stop = covering(agent, environment, release)
    if stop is not None:
        raise _conflict(agent if _by_name(stop, agent) else release, stop)


def refuse_stopped_release(release: Release, environment: Environment) -> None:
    """Let nobody go back to a release that is stopped itself.

    Under the stop of an agent or an author, going back stays possible: nothing runs until the stop is lifted, and then
    it is the earlier release.

    Raises:
        Conflict: the release is stopped.
    """
    stop = stop_of_release(release, environment)
    if stop is not None:
        raise _conflict(release, stop)


def stop_of_release(release: Release, environment: Environment) -> Stop | None:
    """The oldest stop of this very release, whatever its name."""
    stops: StopQuerySet = Stop.objects.live().in_environment(environment)
    named = stops.filter(digests__contains=[release.digest])
    return named.select_related("environment").order_by("created_at").first()


def _conflict(what: Agent | Release, stop: Stop) -> Conflict:
    return Conflict(f"{what} must not run {stop.where}: {in_words(stop)}. Lift stop {stop.public_id} first.")


def in_words(stop: Stop) -> str:
    """Who stopped it, when and why."""
    return f"stopped by {stop.started_by} at {stop.created_at:%Y-%m-%d %H:%M} UTC: {stop.reason}"


def stops_of(deployments: Iterable[Deployment]) -> dict[UUID, Stop]:
    """The stop that covers each deployment, by its primary key, in one query; none of it for those that may run."""
    shown = list(deployments)
    live = list(Stop.objects.live().select_related("environment").order_by("created_at")) if shown else []
    return {
        deployment.pk: stop
        for deployment in shown
        if (stop := next((each for each in live if _covers(each, deployment)), None)) is not None
    }


def why_not_own_more(agent: Agent, owner: User) -> str | None:
    """Why a member cannot become the owner of an agent: all of theirs is stopped, and the agent may be running."""
    stop = Stop.objects.live().filter(author=owner).select_related("environment").first()
    if stop is None:
        return None
    return f"Everything that {owner} owns is {in_words(stop)}. Lift stop {stop.public_id} before they own more."


def _covers(stop: Stop, deployment: Deployment) -> bool:
    if stop.environment_id not in (None, deployment.environment_id):
        return False
    return _by_name(stop, deployment.agent) or (
        deployment.release is not None and deployment.release.digest in stop.digests
    )


def _by_name(stop: Stop, agent: Agent) -> bool:
    return agent.slug in stop.slugs or (stop.author_id is not None and stop.author_id == agent.owner_id)
