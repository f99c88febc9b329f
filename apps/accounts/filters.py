"""Filters of members and tokens."""

from __future__ import annotations

import django_filters

from apps.accounts.models import ApiToken, User
from apps.accounts.queries import role_choices
from apps.core.pages import FilterSet, FlagFilter, SearchFilter


class MemberFilter(FilterSet):
    """Search by name or address; narrow by role and state."""

    search = SearchFilter(fields=["email", "name"])
    role = django_filters.ChoiceFilter(field_name="groups__name", choices=role_choices, label="Role")
    is_active = FlagFilter(yes="active", no="deactivated", label="State")

    class Meta:
        model = User
        fields = ("search", "role", "is_active")


class TokenFilter(FilterSet):
    """Search by name."""

    search = SearchFilter(fields=["name", "public_id"])

    class Meta:
        model = ApiToken
        fields = ("search",)
