"""What the actor of a request may do, asked once per request and question."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.core.commands import may
from apps.core.requests import actor_of

if TYPE_CHECKING:
    from django.db.models import Model
    from django.http import HttpRequest

    from apps.core.decisions import Decision


def decision(request: HttpRequest, action: str, resource: Model | None = None) -> Decision:
    """The decision function's answer; a page asks the same for the sidebar, its buttons and its panels."""
    answers: dict[tuple[str, str, str], Decision] = request.__dict__.setdefault("_decisions", {})
    key = (action, resource._meta.label if resource else "", str(resource.pk) if resource else "")
    if key not in answers:
        answers[key] = may(actor_of(request), action, resource)
    return answers[key]


def allowed(request: HttpRequest, action: str, resource: Model | None = None) -> bool:
    return decision(request, action, resource).allowed
