"""How stops are searched and narrowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import django_filters
from django.db.models import Q

from apps.core.pages import FilterSet, FlagFilter, SearchFilter
from apps.deployments.models import Stop
from apps.gateways.models import Environment

if TYPE_CHECKING:
    from apps.deployments.models import StopQuerySet

_SEARCHED = ["label", "public_id", "reason", "started_by"]


def _by_live(queryset: StopQuerySet, live: bool) -> StopQuerySet:  # noqa: FBT001
    return queryset.live() if live else queryset.exclude(lifted_at=None)


class StopFilter(FilterSet):
    """The list of stops."""

    search = SearchFilter(fields=_SEARCHED, placeholder="Search stops")
    live = FlagFilter(yes="In force", no="Lifted", label="Stop", method="by_live")
    subject = django_filters.ChoiceFilter(choices=Stop.Subject.choices, label="Of")
    environment = django_filters.ModelChoiceFilter(
        queryset=Environment.objects.all(), label="Environment", empty_label="Any environment", method="by_environment"
    )

    class Meta:
        model = Stop
        fields = ("search", "live", "subject", "environment")

    def by_live(self, queryset: StopQuerySet, _name: str, value: str) -> StopQuerySet:
        return _by_live(queryset, value == "yes")

    def by_environment(self, queryset: StopQuerySet, _name: str, value: Environment) -> StopQuerySet:
        return queryset.in_environment(value)


class StopApiFilter(django_filters.FilterSet):
    """Stops in the API."""

    search = SearchFilter(fields=_SEARCHED)
    live = django_filters.ChoiceFilter(
        choices=[("true", "true"), ("false", "false")], method="by_live", help_text="Whether it is in force."
    )
    subject = django_filters.ChoiceFilter(choices=Stop.Subject.choices)
    agent = django_filters.CharFilter(method="by_agent", help_text="Slug of an agent that is covered by name.")
    environment = django_filters.CharFilter(
        method="by_environment", help_text="Slug of an environment; those of everywhere are among them."
    )

    class Meta:
        model = Stop
        fields = ("search", "live", "subject", "agent", "environment")

    def by_live(self, queryset: StopQuerySet, _name: str, value: str) -> StopQuerySet:
        return _by_live(queryset, value == "true")

    def by_agent(self, queryset: StopQuerySet, _name: str, slug: str) -> StopQuerySet:
        return queryset.filter(slugs__contains=[slug])

    def by_environment(self, queryset: StopQuerySet, _name: str, slug: str) -> StopQuerySet:
        return queryset.filter(Q(environment__slug=slug) | Q(environment=None))
