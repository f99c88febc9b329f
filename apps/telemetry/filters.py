"""How executions are searched and narrowed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django_filters
from django.utils import timezone

from apps.agents.models import Agent
from apps.core.pages import FilterSet, SearchFilter
from apps.core.ports import ports
from apps.core.requests import actor_of
from apps.gateways.models import CallerKey, Environment, Gateway
from apps.telemetry.models import Channel, Execution, Status
from apps.telemetry.windows import WINDOWS

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

_SEARCHED = ("execution_id", "registration", "session_id", "error_code", "release_digest")


def _agents(request: HttpRequest | None) -> QuerySet[Agent]:
    return _visible(request, Agent.objects.order_by("name"), "agent.view")


def _environments(request: HttpRequest | None) -> QuerySet[Environment]:
    return _visible(request, Environment.objects.all(), "environment.view")


def _gateways(request: HttpRequest | None) -> QuerySet[Gateway]:
    return _visible(request, Gateway.objects.order_by("name"), "gateway.view")


def _keys(request: HttpRequest | None) -> QuerySet[CallerKey]:
    return _visible(request, CallerKey.objects.lasting().order_by("name"), "caller-key.view")


def _visible(request: HttpRequest | None, queryset: QuerySet[Any], action: str) -> QuerySet[Any]:
    """A choice tells that a thing exists, so it is offered only to those who may see the thing."""
    return ports.visible(queryset, actor_of(request), action) if request is not None else queryset.none()


class ExecutionFilter(FilterSet):
    """Search by id, registration, session, error or release; narrow by what was called, from where, and when."""

    search = SearchFilter(fields=_SEARCHED, placeholder="Search id, session, error")
    # The library takes a function of the request as queryset; its annotations do not say so.
    agent = django_filters.ModelChoiceFilter(queryset=_agents, to_field_name="slug", method="of_agent", label="Agent")  # type: ignore[arg-type]
    environment = django_filters.ModelChoiceFilter(queryset=_environments, to_field_name="slug", label="Environment")  # type: ignore[arg-type]
    gateway = django_filters.ModelChoiceFilter(queryset=_gateways, to_field_name="name", label="Gateway")  # type: ignore[arg-type]
    status = django_filters.ChoiceFilter(choices=Status.choices, label="Status")
    channel = django_filters.ChoiceFilter(choices=Channel.choices, label="Channel")
    key = django_filters.ModelChoiceFilter(queryset=_keys, to_field_name="public_id", method="by_key", label="Key")  # type: ignore[arg-type]
    window = django_filters.ChoiceFilter(
        choices=[(window.key, window.label) for window in WINDOWS.values()], method="within", label="Time"
    )

    class Meta:
        model = Execution
        fields = ("search", "agent", "environment", "gateway", "status", "channel", "key", "window")

    def of_agent(self, queryset: QuerySet[Execution], _: str, agent: Agent) -> QuerySet[Execution]:
        return queryset.filter(agent_slug=agent.slug)

    def by_key(self, queryset: QuerySet[Execution], _: str, key: CallerKey) -> QuerySet[Execution]:
        return queryset.filter(key_id=key.public_id)

    def within(self, queryset: QuerySet[Execution], _: str, key: str) -> QuerySet[Execution]:
        return queryset.filter(started_at__gte=timezone.now() - WINDOWS[key].span)


class ExecutionApiFilter(django_filters.FilterSet):
    """The same for programs, which name things by value and times exactly."""

    search = SearchFilter(fields=_SEARCHED)
    agent = django_filters.CharFilter(field_name="agent_slug", label="Slug of the agent")
    environment = django_filters.CharFilter(field_name="environment__slug", label="Slug of the environment")
    gateway = django_filters.CharFilter(field_name="gateway_name", label="Name of the gateway")
    key = django_filters.CharFilter(field_name="key_id", label="Id of the caller key")
    status = django_filters.ChoiceFilter(choices=Status.choices)
    channel = django_filters.ChoiceFilter(choices=Channel.choices)
    started_after = django_filters.IsoDateTimeFilter(field_name="started_at", lookup_expr="gte", label="Not before")
    started_before = django_filters.IsoDateTimeFilter(field_name="started_at", lookup_expr="lt", label="Before")

    class Meta:
        model = Execution
        fields = (
            "search", "agent", "environment", "gateway", "registration", "release_digest", "execution_id", "session_id",
            "error_code", "key", "status", "channel", "started_after", "started_before",
        )  # fmt: skip
