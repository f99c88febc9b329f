"""Pages that list things."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.utils.cache import patch_vary_headers

from apps.core.errors import Denied
from apps.core.pages.base import PAGE_SIZE, EmptyState, Page, is_partial
from apps.core.pages.filters import SearchFilter
from apps.core.permissions import decision
from apps.core.ports import ports

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse
    from django_filters import FilterSet
    from django_tables2 import Table


class ListPage(Page):
    """A list with search, filters, sorting and pages; htmx swaps the list alone, and links and forms work without it.

    Attributes:
        queryset: the rows; narrowed to those that the actor may see.
        table: how they look.
        filters: how they are narrowed; None for no toolbar.
        empty: shown when there is no row at all.
        per_page: rows on a page.
    """

    queryset: ClassVar[QuerySet[Any] | None] = None
    table: ClassVar[type[Table]]
    filters: ClassVar[type[FilterSet] | None] = None
    empty: ClassVar[EmptyState] = EmptyState("Nothing here yet")
    per_page: ClassVar[int] = PAGE_SIZE
    template_name = "generic/list.html"

    def prepare(self) -> None:
        """Who may not read the collection may still have been granted single rows of it."""
        self.rows = self.get_queryset()
        if self.action is None:
            return
        answer = decision(self.request, self.action)
        self.rows = ports.visible(self.rows, self.actor, self.action)
        if not answer.allowed and not self.rows.exists():
            raise Denied(answer)

    def get_queryset(self) -> QuerySet[Any]:
        assert self.queryset is not None, f"{type(self).__name__} names no queryset"
        return self.queryset.all()

    def get(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
        partial = is_partial(request) and request.htmx.target == "list"  # type: ignore[attr-defined]
        response = self.show(template="generic/list_results.html" if partial else "")
        patch_vary_headers(response, ["HX-Request", "HX-Target"])
        if partial:
            response["HX-Push-Url"] = _address(request)
        return response

    def context(self) -> dict[str, Any]:
        filters = self.filters(self.request.GET, queryset=self.rows, request=self.request) if self.filters else None
        table = self.tabulate(self.table, _narrowed(self.rows, filters), per_page=self.per_page)
        table.swapped_in = "#list"
        return {
            **super().context(),
            "table": table,
            "filters": filters,
            "search": _search_field(filters),
            "filtered": filters is not None and any(self.request.GET.get(name) for name in filters.form.fields),
            "empty": self.empty,
        }


def _narrowed(rows: QuerySet[Any], filters: FilterSet | None) -> QuerySet[Any]:
    if filters is None:
        return rows
    # A value that cannot be (an address written by hand) shows nothing and says why, instead of everything.
    narrowed: QuerySet[Any] = filters.qs if filters.is_valid() else rows.none()
    return narrowed


def _search_field(filters: FilterSet | None) -> Any:
    if filters is None:
        return None
    return next((filters.form[name] for name, each in filters.filters.items() if isinstance(each, SearchFilter)), None)


def _address(request: HttpRequest) -> str:
    """The page's address without parameters that say nothing."""
    query = request.GET.copy()
    for name in [name for name, values in query.lists() if not any(values)]:
        del query[name]
    return f"{request.path}?{query.urlencode()}" if query else request.path
