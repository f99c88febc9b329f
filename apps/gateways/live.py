"""What pages of gateways, environments and keys show of the present moment, re-rendered for each viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django.core.exceptions import ValidationError
from django.template.loader import render_to_string
from django.utils import timezone

from apps.core.errors import NotFound
from apps.core.live import fragment
from apps.core.ports import ports
from apps.gateways.models import CallerKey, Environment, Gateway, Placement
from apps.gateways.queries import (
    ANSWERING,
    availability,
    confirmations,
    environment_status,
    gateways_with_waiting,
    history_chart,
    key_status,
    shown_status,
    titles_of,
)

if TYPE_CHECKING:
    from django.db.models import Model, QuerySet

    from apps.core.actors import Actor

M = TypeVar("M", bound="Model")
_WAITING_SHOWN = 20


@fragment("gateway", listens_to=("gateway", "placement"))
def render_gateway(actor: Actor, identifier: str) -> str:
    """The present state of one gateway."""
    gateway = _seen(Gateway.objects.select_related("environment"), actor, "gateway.view", identifier)
    return render_to_string("gateways/live/gateway.html", gateway_context(gateway))


def gateway_context(gateway: Gateway) -> dict[str, Any]:
    """What the gateway's template needs; the page renders the same one at first."""
    unsettled = Placement.objects.unsettled().filter(gateway=gateway).explained()
    waiting = list(unsettled.order_by("-priority", "next_attempt_at")[:_WAITING_SHOWN])
    titles, now = titles_of(waiting), timezone.now()
    return {
        "gateway": gateway,
        "present": shown_status(gateway),
        "chart": history_chart(gateway),
        "availability": availability(gateway),
        "waiting_count": unsettled.count(),
        "waiting": [(placement, titles.get(placement.name), placement.reason(now)) for placement in waiting],
    }


@fragment("environment", listens_to=("gateway", "placement", "environment"))
def render_environment(actor: Actor, identifier: str) -> str:
    """The gateways of one environment."""
    environment = _seen(Environment.objects.all(), actor, "environment.view", identifier)
    return render_to_string("gateways/live/environment.html", environment_context(actor, environment))


def environment_context(actor: Actor, environment: Environment) -> dict[str, Any]:
    """What the environment's template needs."""
    gateways = gateways_with_waiting(Gateway.objects.filter(environment=environment))
    shown = list(ports.visible(gateways, actor, "gateway.view"))
    return {
        "environment": environment,
        "present": environment_status(len(shown), sum(gateway.status in ANSWERING for gateway in shown)),
        "gateways": [(gateway, shown_status(gateway)) for gateway in shown],
    }


@fragment("caller-key", listens_to=("caller-key", "placement", "gateway"))
def render_key(actor: Actor, identifier: str) -> str:
    """Which gateways hold a key as it should be, and which do not yet."""
    key = _seen(CallerKey.objects.select_related("environment"), actor, "caller-key.view", identifier)
    return render_to_string("gateways/live/key.html", key_context(key))


def key_context(key: CallerKey) -> dict[str, Any]:
    """What the key's template needs."""
    gateways = confirmations(key)
    missing = [each for each in gateways if not each.confirmed]
    return {"key": key, "present": key_status(key, gateways), "gateways": gateways, "missing": missing}


def _seen(queryset: QuerySet[M], actor: Actor, action: str, identifier: str) -> M:
    """The row, if the actor may see it.

    Raises:
        NotFound: there is none, or the actor may not see it.
    """
    try:
        row: M | None = ports.visible(queryset, actor, action).filter(pk=identifier).first()
    except (ValueError, ValidationError):
        row = None
    if row is None:
        raise NotFound("There is nothing here, or you may not see it.")
    return row
