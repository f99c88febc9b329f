"""Tables of agents and versions, and the buttons for what can be done with them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import django_tables2 as tables
from django.utils.html import format_html

from apps.agents.models import Agent, AgentVersion
from apps.audit.models import Event
from apps.audit.tables import EventTable
from apps.core.moments import ago
from apps.core.pages import ActionButton
from apps.core.tables import ActionsColumn, DigestColumn, LinkColumn, StatusColumn, Table, TimeColumn

if TYPE_CHECKING:
    from django.utils.safestring import SafeString


def _why_not_publish(agent: Agent) -> str | None:
    return None if agent.has_unpublished_changes else f"Nothing changed since version {agent.latest_number}"


def _why_not_restore_version(version: AgentVersion) -> str | None:
    if version.agent.deleted_at is not None:
        return "The agent is deleted"
    if version.content_digest == version.agent.content_digest:
        return "The draft is this version already"
    return None


CREATE = ActionButton("New agent", icon="plus", url="agents:create", action="agent.create", style="primary")
EDIT = ActionButton("Edit", icon="pencil", url="agents:edit", action="agent.edit")
PUBLISH = ActionButton(
    "Publish", icon="tag", url="agents:publish", action="agent.publish", style="primary", when=_why_not_publish
)
DUPLICATE = ActionButton("Duplicate", icon="copy", url="agents:duplicate", action="agent.duplicate", method="dialog")
HAND_OVER = ActionButton(
    "Hand over", icon="user-check", url="agents:hand-over", action="agent.hand-over", method="dialog", style="quiet"
)
DELETE = ActionButton(
    "Delete", icon="trash", url="agents:delete", action="agent.delete", method="dialog", style="danger"
)
RESTORE = ActionButton("Restore", icon="restore", url="agents:restore", action="agent.restore", method="post")
COMPARE = ActionButton(
    "Compare with draft", icon="git-compare", url="agents:compare-version", action="agent-version.view"
)
RESTORE_VERSION = ActionButton(
    "Restore into draft",
    icon="arrow-back-up",
    url="agents:restore-version",
    action="agent.restore-version",
    method="dialog",
    when=_why_not_restore_version,
)

OF_ALIVE = (PUBLISH, EDIT, DUPLICATE, DELETE)
OF_DELETED = (RESTORE,)
# On an agent's own page the eye should not fall on the red button first.
ON_PAGE = (PUBLISH, EDIT, DUPLICATE, HAND_OVER, replace(DELETE, style="quiet"))


class AgentActions(ActionsColumn):
    """What can be done with an agent depends on whether it is deleted."""

    def __init__(self) -> None:
        super().__init__(OF_ALIVE)
        self.of_deleted = ActionsColumn(OF_DELETED)

    def render(self, record: Agent, table: Table) -> SafeString:  # type: ignore[override]
        if record.deleted_at is not None:
            return self.of_deleted.render(record, table)
        return super().render(record, table)


class AgentTable(Table):
    """Agents with where they stand."""

    name = LinkColumn(detail="description")
    slug = tables.Column()
    state = StatusColumn(reason="state_reason", orderable=False)
    latest_number = tables.Column(verbose_name="Version")
    model_profile = tables.Column(verbose_name="Model profile")
    updated_at = TimeColumn(verbose_name="Changed")
    menu = AgentActions()

    class Meta(Table.Meta):
        model = Agent
        fields = ("name", "slug", "state", "latest_number", "model_profile", "updated_at")

    def render_slug(self, value: str) -> SafeString:
        return format_html("<code>{}</code>", value)

    def render_updated_at(self, record: Agent) -> SafeString:
        return format_html('{}<span class="cell-detail">{}</span>', ago(record.updated_at), record.updated_by)


class HistoryTable(EventTable):
    """What happened to one agent: as the log, without repeating the agent in every row."""

    class Meta(Table.Meta):
        model = Event
        fields = ("action", "at", "actor_label", "outcome")
        exclude = ("sequence", "resource_label")
        sequence = ("action", "at", "actor_label", "outcome")

    def render_action(self, record: Event) -> SafeString:
        version = record.detail.get("version")
        told = ": ".join(filter(None, [f"Version {version}" if version else "", record.detail.get("note", "")]))
        line = format_html('<span class="cell-detail">{}</span>', told) if told else ""
        return format_html("{}{}", super().render_action(record), line)


class VersionTable(Table):
    """The versions of one agent."""

    number = LinkColumn(verbose_name="Version", detail="note")
    published_by = tables.Column(verbose_name="By")
    published_at = TimeColumn(verbose_name="Published")
    content_digest = DigestColumn(verbose_name="Content", orderable=False)
    menu = ActionsColumn([COMPARE, RESTORE_VERSION])

    class Meta(Table.Meta):
        model = AgentVersion
        fields = ("number", "published_by", "published_at", "content_digest")

    def render_number(self, value: int, record: AgentVersion) -> SafeString:
        note = format_html('<span class="cell-detail">{}</span>', record.note) if record.note else ""
        return format_html('<a class="cell-main" href="{}">Version {}</a>{}', record.get_absolute_url(), value, note)
