"""Pages of the log."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from apps.audit.chain import verify
from apps.audit.filters import EventFilter
from apps.audit.models import Event
from apps.audit.tables import EventTable
from apps.core import navigation
from apps.core.pages import ActionButton, DetailPage, EmptyState, ListPage, Page

VERIFY = ActionButton("Verify the chain", icon="shield-check", url="audit:verify", action="event.view")


@navigation.entry("Audit log", icon="list-details", section="Govern", order=30, url="audit:events", shortcut="l")
class EventList(ListPage):
    """Every change and every refusal, newest first."""

    title = "Audit log"
    subtitle = "Every change and every refusal. Events are chained by hash and can be neither altered nor removed."
    action = "event.view"
    queryset = Event.objects.all()
    table = EventTable
    filters = EventFilter
    actions = [VERIFY]
    empty = EmptyState("Nothing happened yet", "The first change or sign-in will stand here.", icon="list-details")


class EventDetail(DetailPage):
    """One event with everything that is known of it."""

    action = "event.view"
    queryset = Event.objects.all()
    trail = [("Audit log", "audit:events")]
    title = "Event {object.sequence}"
    template_name = "audit/event.html"

    def status(self) -> tuple[str, str] | None:
        return self.object.outcome, str(self.object.detail.get("reason", ""))

    def context(self) -> dict[str, Any]:
        children = Event.objects.filter(parent=self.object.id).order_by("sequence")
        parent = Event.objects.filter(id=self.object.parent).first() if self.object.parent else None
        return {**super().context(), "children": children, "parent": parent}


class ChainVerification(Page):
    """The whole chain, read and checked now."""

    title = "Verification of the audit log"
    action = "event.view"
    trail = [("Audit log", "audit:events")]
    narrow = True
    template_name = "audit/verification.html"

    def context(self) -> dict[str, Any]:
        return {**super().context(), "verification": verify(), "now": timezone.now()}
