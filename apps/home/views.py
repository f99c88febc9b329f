"""The start page."""

from __future__ import annotations

from typing import Any

from apps.core import navigation
from apps.core.commands import may
from apps.core.pages import Page
from apps.home.live import FRAGMENT_ID, now_context
from apps.telemetry.live import activity_context
from apps.telemetry.subjects import Subject
from apps.telemetry.windows import window_in


@navigation.entry("Home", icon="home", section="", order=0, url="home:start", shortcut="h")
class Home(Page):
    """What runs where, what needs somebody, and what happened."""

    title = "Home"
    template_name = "home/home.html"

    def context(self) -> dict[str, Any]:
        values = {**super().context(), **now_context(self.actor), "fragment_id": FRAGMENT_ID, "activity": None}
        if may(self.actor, "execution.view").allowed and not values["steps"]:
            values["activity"] = activity_context(self.actor, Subject(window_in(self.request.GET)))
        return values
