"""Cursor pagination: stable under inserts, and never a COUNT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework import pagination
from rest_framework.filters import OrderingFilter

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from rest_framework.request import Request


class CursorPagination(pagination.CursorPagination):
    """`?cursor=…&page_size=…`; newest first unless the view's `ordering` or `?ordering=` says otherwise."""

    page_size = 50
    max_page_size = 200
    page_size_query_param = "page_size"
    ordering = "-created_at"

    def get_ordering(self, request: Request, queryset: QuerySet[Any], view: Any) -> tuple[str, ...]:
        chosen = OrderingFilter().get_ordering(request, queryset, view) if hasattr(view, "ordering_fields") else None
        ordering = chosen or getattr(view, "ordering", self.ordering)
        names: tuple[str, ...] = (ordering,) if isinstance(ordering, str) else tuple(ordering or ())
        # The key breaks ties, so that rows made in the same instant are neither skipped nor repeated.
        return names if any(name.lstrip("-") in ("pk", "id", "sequence") for name in names) else (*names, "pk")
