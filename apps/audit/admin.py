"""The operators' own log in the Django admin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin

from apps.audit.models import Event

if TYPE_CHECKING:
    from django.http import HttpRequest


@admin.register(Event)
class EventAdmin(admin.ModelAdmin[Event]):
    """The operators' own log, to read."""

    list_display = ("sequence", "at", "action", "outcome", "actor_label", "resource_label")
    list_filter = ("action", "outcome")
    search_fields = ("actor_label", "resource_label", "action")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Event | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Event | None = None) -> bool:
        return False
