"""Reads of the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.audit.models import Event

if TYPE_CHECKING:
    from django.db.models import QuerySet


def events_of(resource_type: str, resource_id: str) -> QuerySet[Event]:
    """What happened to one resource, newest first."""
    return Event.objects.filter(resource_type=resource_type, resource_id=str(resource_id))


def action_choices() -> list[tuple[str, str]]:
    """The actions that occur in the log."""
    names = Event.objects.order_by("action").values_list("action", flat=True).distinct()
    return [(name, name) for name in names]


def resource_type_choices() -> list[tuple[str, str]]:
    """The resource types that occur in the log."""
    names = Event.objects.order_by("resource_type").values_list("resource_type", flat=True).distinct()
    return [(name, name) for name in names]
