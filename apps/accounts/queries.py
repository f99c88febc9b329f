"""Reads of people and tokens."""

from __future__ import annotations

from django.contrib.auth.models import Group
from django.db.models import OuterRef, QuerySet, Subquery

from apps.accounts.models import User


def members() -> QuerySet[User]:
    """Members with their role as an annotation `role`, so that a list costs one query."""
    role = Group.objects.filter(user=OuterRef("pk")).order_by("name").values("name")[:1]
    return User.objects.annotate(role=Subquery(role))


def role_choices() -> list[tuple[str, str]]:
    """The roles that a member may be given, for forms and documentation."""
    return [(name, name) for name in Group.objects.order_by("pk").values_list("name", flat=True)]
