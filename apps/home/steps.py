"""The way of a new organization to its first answer. A step is done when the facts say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.urls import reverse

from apps.agents.models import Agent, AgentVersion
from apps.core.commands import may
from apps.deployments.models import Deployment
from apps.deployments.queries import statuses
from apps.gateways.models import Gateway
from apps.telemetry.models import ExecutionRollup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from apps.core.actors import Actor


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    Attributes:
        address: where to take it.
        open: whether it is to be taken, by this actor.
        waits: what a step that was begun still waits for; "" otherwise.
    """

    title: str
    text: str
    icon: str
    button: str
    address: str
    done: bool
    open: bool
    waits: str = ""


def first_steps(actor: Actor) -> Sequence[Step]:
    """The steps with what is true of them; empty once an agent of the organization was called."""
    if ExecutionRollup.objects.exists():
        return ()
    return (_write(actor), _register(actor), _deploy(), _call())


def next_step(steps: Sequence[Step]) -> Step | None:
    """The first that is not done."""
    return next((step for step in steps if not step.done), None)


def _write(actor: Actor) -> Step:
    published = AgentVersion.objects.exists()
    draft = None if published else Agent.objects.alive().order_by("created_at").first()
    return Step(
        "Write an agent",
        "Instructions, a model and limits. Publishing freezes them as version 1.",
        "robot",
        "Publish it" if draft else "Write an agent",
        reverse("agents:publish", kwargs={"slug": draft.slug}) if draft else reverse("agents:create"),
        done=published,
        open=not published and may(actor, "agent.create").allowed,
        waits=f"{draft} is a draft; publish it" if draft else "",
    )


def _register(actor: Actor) -> Step:
    gateway = Gateway.objects.order_by("-last_seen_at", "created_at").first()
    seen = gateway is not None and gateway.last_seen_at is not None
    return Step(
        "Register a gateway",
        "The process that runs agents and answers callers. It needs an address and a deploy token.",
        "server-2",
        "See what is wrong" if gateway and not seen else "Register a gateway",
        gateway.get_absolute_url() if gateway and not seen else reverse("gateways:register"),
        done=seen,
        open=not seen and may(actor, "gateway.register").allowed,
        waits=f"{gateway}: {gateway.status_reason}" if gateway and not seen else "",
    )


def _deploy() -> Step:
    deployments = list(Deployment.objects.with_names())
    found = statuses(deployments)
    running = any(found[each.pk].adjective == "running" for each in deployments)
    begun = next((each for each in deployments if not running and each.release_id), None)
    version = AgentVersion.objects.select_related("agent").order_by("published_at").first()
    address = reverse("deployments:deploy", kwargs={"slug": version.agent.slug}) if version else reverse("agents:list")
    return Step(
        "Deploy it",
        "Choose a version and an environment; every gateway there receives it.",
        "rocket",
        "Follow it" if begun else "Deploy",
        begun.get_absolute_url() if begun else address,
        done=running,
        # Who may deploy depends on the environment, which is chosen there; the page says what is missing.
        open=not running,
        waits=f"{begun}: {found[begun.pk].reason}" if begun else "",
    )


def _call() -> Step:
    deployment = Deployment.objects.wanted().order_by("created_at").first()
    return Step(
        "Call it",
        "Talk to it on its page, or make a caller key and use curl, an OpenAI client, MCP or the command line.",
        "message",
        "Open its page" if deployment else "Make a caller key",
        deployment.get_absolute_url() if deployment else reverse("gateways:create-key"),
        done=False,
        open=True,
    )
