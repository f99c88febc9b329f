"""The way of a new organization to its first answer. A step is done when the facts say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.urls import reverse

from apps.agents.models import Agent, AgentVersion
from apps.core.commands import may
from apps.core.ports import ports
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
    """The steps with what is true of them; empty once an agent of the organization was called.

    Whether a step is done is no secret to a member; what is named along with it is only what the actor may see.
    """
    if ExecutionRollup.objects.exists():
        return ()
    return (_write(actor), _register(actor), _deploy(actor), _call(actor))


def next_step(steps: Sequence[Step]) -> Step | None:
    """The first that is not done."""
    return next((step for step in steps if not step.done), None)


def _write(actor: Actor) -> Step:
    published = AgentVersion.objects.exists()
    drafts = ports.visible(Agent.objects.alive(), actor, "agent.view")
    draft = None if published else drafts.order_by("created_at").first()
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
    seen = Gateway.objects.exclude(last_seen_at=None).exists()
    gateway = (
        None if seen else ports.visible(Gateway.objects.all(), actor, "gateway.view").order_by("created_at").first()
    )
    return Step(
        "Register a gateway",
        "The process that runs agents and answers callers. It needs an address and a deploy token.",
        "server-2",
        "See what is wrong" if gateway else "Register a gateway",
        gateway.get_absolute_url() if gateway else reverse("gateways:register"),
        done=seen,
        open=not seen and may(actor, "gateway.register").allowed,
        waits=f"{gateway}: {gateway.status_reason}" if gateway else "",
    )


def _deploy(actor: Actor) -> Step:
    deployments = list(ports.visible(Deployment.objects.with_names(), actor, "deployment.view"))
    found = statuses(deployments)
    # What is stopped was deployed, if it ever came to its end.
    running = any(
        found[each.pk].adjective == "running" or (found[each.pk].adjective == "stopped" and each.stable_release_id)
        for each in deployments
    )
    begun = next((each for each in deployments if not running and each.release_id), None)
    versions = ports.visible(AgentVersion.objects.select_related("agent"), actor, "agent-version.view")
    version = versions.order_by("published_at").first()
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


def _call(actor: Actor) -> Step:
    wanted = ports.visible(Deployment.objects.wanted(), actor, "deployment.view")
    deployment = wanted.order_by("created_at").first()
    return Step(
        "Call it",
        "Talk to it on its page, or make a caller key and use curl, an OpenAI client, MCP or the command line.",
        "message",
        "Open its page" if deployment else "Make a caller key",
        deployment.get_absolute_url() if deployment else reverse("gateways:create-key"),
        done=False,
        open=True,
    )
