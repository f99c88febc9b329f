"""What every page has: sign-in, the permission to read, a title, a trail back, and actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.exceptions import ValidationError
from django.shortcuts import render
from django.urls import reverse
from django.views import View
from django_htmx.http import HttpResponseClientRedirect
from django_tables2 import RequestConfig
from django_tables2 import Table as BaseTable

from apps.core.errors import Denied, NotFound, Unauthenticated
from apps.core.permissions import decision
from apps.core.ports import ports
from apps.core.requests import actor_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.models import Model, QuerySet
    from django.http import HttpRequest, HttpResponse, HttpResponseBase

    from apps.core.actors import Actor
    from apps.core.pages.actions import ActionButton

PAGE_SIZE = 25


@dataclass(frozen=True, slots=True)
class EmptyState:
    """What a list says when it has nothing: what belongs here, and how to make the first one."""

    title: str
    text: str = ""
    icon: str = "inbox"
    action: ActionButton | None = None


@dataclass(frozen=True, slots=True)
class Crumb:
    """One step of the trail at the top of a page; the last one, the page itself, has no address."""

    label: str
    address: str = ""


class Page(View):
    """A page for signed-in members.

    Attributes:
        title: what the page is called; `{object}` stands for the object it is about.
        action: permission to read it; None for every member.
        trail: (label, URL name) of the pages above it.
        actions: buttons at the right of the title.
        narrow: a single readable column, for forms and texts.
    """

    title: ClassVar[str] = ""
    subtitle: ClassVar[str] = ""
    action: ClassVar[str | None] = None
    template_name: ClassVar[str] = "generic/page.html"
    trail: ClassVar[Sequence[tuple[str, str]]] = ()
    actions: ClassVar[Sequence[ActionButton]] = ()
    narrow: ClassVar[bool] = False

    object: Any = None

    @property
    def actor(self) -> Actor:
        return actor_of(self.request)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if self.actor.kind == "anonymous":
            if is_partial(request):
                # A redirect would be followed inside the swap, and the sign-in page land in a corner of this one.
                return HttpResponseClientRedirect(request.headers.get("HX-Current-URL", request.get_full_path()))
            raise Unauthenticated
        self.prepare()
        return super().dispatch(request, *args, **kwargs)

    def prepare(self) -> None:
        """Check that the actor may read the page.

        Raises:
            Denied: the actor may not.
        """
        if self.action is not None:
            require(self.request, self.action)

    def get(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
        return self.show()

    def show(self, *, status: int = 200, template: str = "", **extra: Any) -> HttpResponse:
        """Render the page."""
        return render(self.request, template or self.template_name, {**self.context(), **extra}, status=status)

    def context(self) -> dict[str, Any]:
        """The values that the template gets."""
        return {
            "page": self,
            "object": self.object,
            "title": self.get_title(),
            "crumbs": [*self.crumbs(), Crumb(self.get_title())],
            "actions": self.actions,
        }

    def get_title(self) -> str:
        return self.title.format(object=self.object)

    def crumbs(self) -> list[Crumb]:
        return [Crumb(label, reverse(name)) for label, name in self.trail]

    def tabulate(
        self, table_class: Callable[..., BaseTable], rows: Any, *, per_page: int = PAGE_SIZE, **kwargs: Any
    ) -> BaseTable:
        """A table that is sorted and paged from the query string; a `prefix` keeps two on one page apart."""
        table = table_class(rows, request=self.request, **kwargs)
        configured: BaseTable = RequestConfig(self.request, paginate={"per_page": per_page}).configure(table)
        return configured


class ObjectPage(Page):
    """A page about one object.

    The URL's arguments are field look-ups: `agents/<slug:agent__slug>/versions/<int:number>/` finds the version. An
    object that does not exist or that the actor may not see is the same 404.

    Attributes:
        queryset: where the object is looked for.
    """

    queryset: ClassVar[QuerySet[Any] | None] = None

    def prepare(self) -> None:
        self.object = self.get_object()

    def get_queryset(self) -> QuerySet[Any]:
        assert self.queryset is not None, f"{type(self).__name__} names no queryset"
        # A class-level queryset would be evaluated once per process; a copy is evaluated per request.
        return self.queryset.all()

    def get_object(self) -> Model:
        """Find the object.

        Raises:
            NotFound: it does not exist, or the actor may not see it.
        """
        queryset = self.get_queryset()
        if self.action is not None:
            queryset = ports.visible(queryset, self.actor, self.action)
        try:
            found: Model | None = queryset.filter(**self.kwargs).first()
        except (ValueError, ValidationError):
            # An address with something that cannot be a key, such as a UUID with a letter too many.
            found = None
        if found is None:
            raise NotFound("It does not exist, or you may not see it.")
        return found


def require(request: HttpRequest, action: str, resource: Model | None = None) -> None:
    """Raise `Denied` unless the actor may; the answer is shared with the page's buttons."""
    answer = decision(request, action, resource)
    if not answer.allowed:
        raise Denied(answer)


def is_partial(request: HttpRequest) -> bool:
    """Whether htmx asks for a piece of the page, and not the browser for the whole."""
    htmx = getattr(request, "htmx", None)
    return htmx is not None and bool(htmx) and not htmx.history_restore_request
