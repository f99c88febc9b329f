"""The live part of the start page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.template.loader import render_to_string

from apps.core.errors import NotFound
from apps.core.live import fragment
from apps.home.queries import overview
from apps.home.steps import first_steps, next_step

if TYPE_CHECKING:
    from apps.core.actors import Actor

FRAGMENT_ID = "now"
_LISTENS_TO = (
    "agent", "agent-version", "environment", "gateway", "placement", "deployment", "rollout", "stop", "execution",
    "caller-key",
)  # fmt: skip


@fragment("home", listens_to=_LISTENS_TO)
def render_home(actor: Actor, identifier: str) -> str:
    """What runs where, what needs somebody, the gateways and the last events."""
    if identifier != FRAGMENT_ID:
        raise NotFound("There is no such live view.")
    return render_to_string("home/now.html", now_context(actor))


def now_context(actor: Actor) -> dict[str, Any]:
    """What the template needs; the page renders the same one at first."""
    steps = first_steps(actor)
    return {"overview": overview(actor), "steps": steps, "next_step": next_step(steps)}
