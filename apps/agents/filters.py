"""Filters of agents, for the list page and for the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django_filters
from django.db.models import F

from apps.agents.models import Agent
from apps.core.pages import FilterSet, SearchFilter

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from apps.agents.models import AgentQuerySet

_SEARCHED = ["name", "slug", "description"]
_YES_OR_NO = [("true", "true"), ("false", "false")]
STATES = [
    ("draft", "Never published"),
    ("published", "Published"),
    ("changed", "Changed since"),
    ("deleted", "Deleted"),
]


def _profiles() -> list[tuple[str, str]]:
    """The model profiles that agents name."""
    names = Agent.objects.alive().order_by("model_profile").values_list("model_profile", flat=True).distinct()
    return [(name, name) for name in names]


class AgentFilter(FilterSet):
    """The list page: agents that are not deleted, unless those are asked for."""

    search = SearchFilter(fields=_SEARCHED, placeholder="Search agents")
    state = django_filters.ChoiceFilter(choices=STATES, method="by_state", label="State")
    model_profile = django_filters.ChoiceFilter(choices=_profiles, label="Model profile")

    class Meta:
        model = Agent
        fields = ("search", "state", "model_profile")

    def by_state(self, queryset: AgentQuerySet, _name: str, state: str) -> AgentQuerySet:
        match state:
            case "deleted":
                return queryset.deleted()
            case "draft":
                return queryset.unpublished()
            case "published":
                return queryset.published().filter(content_digest=F("latest_digest"))
            case _:
                return queryset.published().exclude(content_digest=F("latest_digest"))

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        narrowed = super().filter_queryset(queryset)
        return narrowed if self.form.cleaned_data.get("state") == "deleted" else narrowed.filter(deleted_at=None)


class AgentApiFilter(django_filters.FilterSet):
    """The API: `deleted=true` shows the deleted agents instead of the others."""

    search = SearchFilter(fields=_SEARCHED)
    model_profile = django_filters.CharFilter(help_text="Agents that name this model profile.")
    owner = django_filters.CharFilter("owner__email", help_text="Email address of the member who answers for it.")
    published = django_filters.ChoiceFilter(
        choices=_YES_OR_NO, method="by_published", help_text="Whether the agent has a version."
    )
    deleted = django_filters.ChoiceFilter(
        choices=_YES_OR_NO, method="by_deleted", help_text="`true` shows the deleted agents instead of the others."
    )

    class Meta:
        model = Agent
        fields = ("search", "model_profile", "owner", "published", "deleted")

    def by_published(self, queryset: AgentQuerySet, _name: str, value: str) -> AgentQuerySet:
        return queryset.published() if value == "true" else queryset.unpublished()

    def by_deleted(self, queryset: AgentQuerySet, _name: str, value: str) -> AgentQuerySet:
        return queryset.deleted() if value == "true" else queryset

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        narrowed = super().filter_queryset(queryset)
        return narrowed if self.form.cleaned_data.get("deleted") == "true" else narrowed.filter(deleted_at=None)
