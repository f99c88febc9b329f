"""What the actor of a request may do, asked once per request and question."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from apps.core.commands import may
from apps.core.requests import actor_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from django.db.models import Model
    from django.http import HttpRequest

    from apps.core.actors import Actor
    from apps.core.decisions import Decision

T = TypeVar("T")
_memory: ContextVar[dict[Hashable, Any] | None] = ContextVar("kaizen_permission_memory", default=None)


def remembered(key: Hashable, read: Callable[[], T]) -> T:
    """A fact behind decisions, such as the actor's roles: read once while one page is drawn, else each time.

    A list with buttons in every row asks hundreds of questions that rest on the same few facts. Commands never run
    with a memory: they decide on what the database says at that moment.
    """
    memory = _memory.get()
    if memory is None:
        return read()
    if key not in memory:
        memory[key] = read()
    found: T = memory[key]
    return found


def decision(request: HttpRequest, action: str, resource: Model | None = None) -> Decision:
    """The decision function's answer; a page asks the same for the sidebar, its buttons and its panels."""
    answers: dict[tuple[str, str, str], Decision] = request.__dict__.setdefault("_decisions", {})
    key = (action, resource._meta.label if resource else "", str(resource.pk) if resource else "")
    if key not in answers:
        token = _memory.set(request.__dict__.setdefault("_permission_memory", {}))
        try:
            answers[key] = may(actor_of(request), action, resource)
        finally:
            _memory.reset(token)
    return answers[key]


def allowed(request: HttpRequest, action: str, resource: Model | None = None) -> bool:
    return decision(request, action, resource).allowed


def which(actor: Actor, actions: Iterable[str], resource: Model) -> dict[str, bool]:
    """For each action whether the actor may do it with one thing; what the answers rest on is read once.

    For what is drawn without a request, such as a live region.
    """
    token = _memory.set({})
    try:
        return {action: may(actor, action, resource).allowed for action in actions}
    finally:
        _memory.reset(token)
