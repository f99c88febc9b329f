"""How environments, gateways, keys and placements are searched and narrowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import django_filters
from django.db.models import Q
from django.utils import timezone

from apps.core.pages import FilterSet, SearchFilter
from apps.core.ports import ports
from apps.core.requests import actor_of
from apps.gateways.labels import labels_from_text
from apps.gateways.models import CallerKey, Environment, Gateway, Placement
from contract.kinds import KINDS

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

    from apps.gateways.models.placements import PlacementQuerySet

KEY_STATES = (("active", "active"), ("expired", "expired"), ("revoked", "revoked"))


def visible_environments(request: HttpRequest | None) -> QuerySet[Environment]:
    """Those whose existence the actor may know of."""
    everything = Environment.objects.all()
    return ports.visible(everything, actor_of(request), "environment.view") if request else everything.none()


class GatewayFilter(FilterSet):
    """Gateways by name, address and version, environment and status."""

    search = SearchFilter(fields=["name", "address", "version"], placeholder="Search gateways")
    # The library takes a function of the request as queryset; its annotations do not say so.
    environment = django_filters.ModelChoiceFilter(
        queryset=visible_environments,  # type: ignore[arg-type]
        to_field_name="slug",
        label="Environment",
    )
    status = django_filters.ChoiceFilter(choices=Gateway.Status.choices, label="Status")

    class Meta:
        model = Gateway
        fields = ("search", "environment", "status")


class GatewayApiFilter(django_filters.FilterSet):
    """The same for programs."""

    search = SearchFilter(fields=["name", "address", "version"])
    environment = django_filters.CharFilter(field_name="environment__slug", label="Slug of the environment")
    status = django_filters.ChoiceFilter(choices=Gateway.Status.choices)
    label = django_filters.CharFilter(method="with_label", label="A label, such as region=eu")

    class Meta:
        model = Gateway
        fields = ("search", "environment", "status", "label")

    def with_label(self, queryset: QuerySet[Gateway], _name: str, label: str) -> QuerySet[Gateway]:
        return queryset.filter(labels__contains=labels_from_text(label))


def _by_state(queryset: QuerySet[CallerKey], _name: str, state: str) -> QuerySet[CallerKey]:
    if state == "revoked":
        return queryset.exclude(revoked_at=None)
    now = timezone.now()
    if state == "expired":
        return queryset.filter(revoked_at=None, expires_at__lte=now)
    return queryset.filter(Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None)


class KeyFilter(FilterSet):
    """Keys by name and id, environment and state."""

    search = SearchFilter(fields=["name", "public_id", "created_by"], placeholder="Search keys")
    environment = django_filters.ModelChoiceFilter(
        queryset=visible_environments,  # type: ignore[arg-type]
        to_field_name="slug",
        label="Environment",
    )
    state = django_filters.ChoiceFilter(choices=KEY_STATES, method=_by_state, label="State")

    class Meta:
        model = CallerKey
        fields = ("search", "environment", "state")


class KeyApiFilter(django_filters.FilterSet):
    """The same for programs."""

    search = SearchFilter(fields=["name", "public_id", "created_by"])
    environment = django_filters.CharFilter(field_name="environment__slug", label="Slug of the environment")
    state = django_filters.ChoiceFilter(choices=KEY_STATES, method=_by_state)
    scope = django_filters.CharFilter(method="with_scope", label="A registration that the key may call")

    class Meta:
        model = CallerKey
        fields = ("search", "environment", "state", "scope")

    def with_scope(self, queryset: QuerySet[CallerKey], _name: str, registration: str) -> QuerySet[CallerKey]:
        return queryset.filter(Q(scopes__contains=[registration]) | Q(scopes__contains=["*"]))


class PlacementApiFilter(django_filters.FilterSet):
    """Placements by gateway, environment, what they are, and whether they are as wanted."""

    gateway = django_filters.CharFilter(field_name="gateway__name", label="Name of the gateway")
    environment = django_filters.CharFilter(field_name="gateway__environment__slug", label="Slug of the environment")
    kind = django_filters.ChoiceFilter(choices=[(name, name) for name in KINDS])
    name = django_filters.CharFilter(label="Name of the registration, or id of the key")
    settled = django_filters.BooleanFilter(method="as_wanted", label="Whether the gateway holds what is wanted")

    class Meta:
        model = Placement
        fields = ("gateway", "environment", "kind", "name", "settled")

    def as_wanted(self, queryset: PlacementQuerySet, _name: str, settled: bool) -> PlacementQuerySet:  # noqa: FBT001
        return queryset.settled() if settled else queryset.unsettled()
