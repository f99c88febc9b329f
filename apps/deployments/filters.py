"""Filters of deployments, releases and rollouts, for pages and the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import django_filters

from apps.agents.models import Agent
from apps.core.pages import FilterSet, FlagFilter, SearchFilter
from apps.deployments.models import Deployment, Release, Rollout
from apps.deployments.queries import ADJECTIVES
from apps.gateways.models import Environment

if TYPE_CHECKING:
    from django.db.models import QuerySet

_STATUSES = [(adjective, adjective) for adjective in ADJECTIVES]
_YES_OR_NO = [("true", "true"), ("false", "false")]


class MatrixFilter(FilterSet):
    """Rows of the matrix."""

    search = SearchFilter(fields=["name", "slug"], placeholder="Search agents")
    deployed = FlagFilter(yes="Deployed somewhere", no="Deployed nowhere", label="Agent", method="by_deployed")

    class Meta:
        model = Agent
        fields = ("search", "deployed")

    def by_deployed(self, queryset: QuerySet[Agent], _name: str, value: str) -> QuerySet[Agent]:
        somewhere = Deployment.objects.wanted().values("agent")
        return queryset.filter(pk__in=somewhere) if value == "yes" else queryset.exclude(pk__in=somewhere)


class DeploymentFilter(FilterSet):
    """The list of deployments."""

    search = SearchFilter(fields=["registration", "agent__name"], placeholder="Search deployments")
    environment = django_filters.ModelChoiceFilter(
        queryset=Environment.objects.all(), label="Environment", empty_label="Any environment"
    )
    adjective = django_filters.ChoiceFilter(choices=_STATUSES, label="Status")
    held = FlagFilter(yes="Held", no="Not held", label="Hold", method="by_held")

    class Meta:
        model = Deployment
        fields = ("search", "environment", "adjective", "held")

    def by_held(self, queryset: QuerySet[Deployment], _name: str, value: str) -> QuerySet[Deployment]:
        return queryset.filter(held_since__isnull=value == "no")


class DeploymentApiFilter(django_filters.FilterSet):
    """Deployments in the API."""

    agent = django_filters.CharFilter("agent__slug", help_text="Slug of the agent.")
    environment = django_filters.CharFilter("environment__slug", help_text="Slug of the environment.")
    registration = django_filters.CharFilter()
    status = django_filters.ChoiceFilter(field_name="adjective", choices=_STATUSES)
    held = django_filters.ChoiceFilter(
        choices=_YES_OR_NO, method="by_held", help_text="Whether automation is held off."
    )

    class Meta:
        model = Deployment
        fields = ("agent", "environment", "registration", "status", "held")

    def by_held(self, queryset: QuerySet[Deployment], _name: str, value: str) -> QuerySet[Deployment]:
        return queryset.filter(held_since__isnull=value == "false")


class ReleaseApiFilter(django_filters.FilterSet):
    """Releases in the API."""

    agent = django_filters.CharFilter("agent_version__agent__slug", help_text="Slug of the agent.")
    version = django_filters.NumberFilter("agent_version__number", help_text="Number of the agent's version.")
    digest = django_filters.CharFilter()

    class Meta:
        model = Release
        fields = ("agent", "version", "digest")


class RolloutApiFilter(django_filters.FilterSet):
    """Rollouts in the API."""

    deployment = django_filters.UUIDFilter("deployment_id", help_text="Id of the deployment.")
    agent = django_filters.CharFilter("deployment__agent__slug", help_text="Slug of the agent.")
    environment = django_filters.CharFilter("deployment__environment__slug", help_text="Slug of the environment.")
    state = django_filters.ChoiceFilter(choices=Rollout.State.choices)
    kind = django_filters.ChoiceFilter(choices=Rollout.Kind.choices)

    class Meta:
        model = Rollout
        fields = ("deployment", "agent", "environment", "state", "kind")
