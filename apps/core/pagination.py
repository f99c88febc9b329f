"""Cursor pagination: stable under inserts, and never a COUNT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import DataError
from rest_framework import pagination
from rest_framework.exceptions import NotFound

from apps.core.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet
    from rest_framework.request import Request


class CursorPagination(pagination.CursorPagination):
    """`?cursor=…&page_size=…`; newest first unless the view's `ordering` or `?ordering=` says otherwise."""

    page_size = 50
    max_page_size = 200
    page_size_query_param = "page_size"
    ordering = "-created_at"

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any] | None:
        try:
            return super().paginate_queryset(queryset, request, view)
        except (ValidationError, ValueError, DataError):
            # A cursor that was made up: its position is no value of the column that orders the list.
            raise NotFound(self.invalid_cursor_message) from None

    def get_ordering(self, request: Request, queryset: QuerySet[Any], view: Any) -> tuple[str, ...]:
        ordering: str | Sequence[str] | None = (
            _chosen(request, view) or getattr(view, "ordering", None) or self.ordering
        )
        names: tuple[str, ...] = (ordering,) if isinstance(ordering, str) else tuple(ordering or ())
        # The key breaks ties, so that rows made in the same instant are neither skipped nor repeated.
        return names if any(name.lstrip("-") in ("pk", "id", "sequence") for name in names) else (*names, "pk")

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super().get_schema_operation_parameters(view)
        fields = getattr(view, "ordering_fields", ())
        if not fields:
            return parameters
        said = "What to sort by, a minus for descending; several, separated by commas. Known: " + ", ".join(fields)
        ordering = {"name": "ordering", "in": "query", "description": said, "schema": {"type": "string"}}
        return [*parameters, ordering]


def _chosen(request: Request, view: Any) -> list[str]:
    """The order that `?ordering=` asks for; empty when it asks for none.

    Raises:
        Invalid: it names something that this list cannot be sorted by.
    """
    fields = getattr(view, "ordering_fields", ())
    names = [name.strip() for name in request.query_params.get("ordering", "").split(",") if name.strip()]
    unknown = [name for name in names if name.removeprefix("-") not in fields]
    if unknown:
        known = f"known: {', '.join(fields)}" if fields else "this list has one order"
        raise Invalid(fields={"ordering": [f"Nothing to sort by is called “{unknown[0][:50]}”; {known}."]})
    return names
