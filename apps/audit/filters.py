"""Filters of the log."""

from __future__ import annotations

import django_filters
from django import forms

from apps.audit.models import Event
from apps.audit.queries import action_choices, resource_type_choices
from apps.core.pages import FilterSet, SearchFilter


class EventFilter(FilterSet):
    """Search by actor and resource; narrow by action, kind of resource, outcome and time."""

    search = SearchFilter(fields=["actor_label", "resource_label", "action", "request_id"])
    action = django_filters.ChoiceFilter(choices=action_choices, label="Action")
    resource_type = django_filters.ChoiceFilter(choices=resource_type_choices, label="Resource")
    outcome = django_filters.ChoiceFilter(choices=Event._meta.get_field("outcome").choices or [], label="Outcome")
    resource_id = django_filters.CharFilter(widget=forms.HiddenInput)
    actor_id = django_filters.CharFilter(widget=forms.HiddenInput)
    since = django_filters.IsoDateTimeFilter(
        field_name="at", lookup_expr="gte", label="Since", widget=forms.DateTimeInput(attrs={"type": "datetime-local"})
    )
    until = django_filters.IsoDateTimeFilter(
        field_name="at", lookup_expr="lt", label="Until", widget=forms.DateTimeInput(attrs={"type": "datetime-local"})
    )

    class Meta:
        model = Event
        fields = ("search", "action", "resource_type", "outcome", "resource_id", "actor_id", "since", "until")
