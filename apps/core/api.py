"""Bases of the API: a resource is a declaration, and every change goes through a command.

A viewset names its queryset, serializer and filters; what it lists is what the actor may see. Changes are methods
that call one command with `self.actor` and return what it returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from django.db.models import Model, QuerySet
from rest_framework import mixins, viewsets
from rest_framework.response import Response

from apps.core.idempotency import run_once
from apps.core.ports import ports
from apps.core.requests import actor_of
from apps.core.resources import type_of

if TYPE_CHECKING:
    from rest_framework.request import Request
    from rest_framework.serializers import BaseSerializer

    from apps.core.actors import Actor

M = TypeVar("M", bound=Model)


class ResourceViewSet(mixins.RetrieveModelMixin, mixins.ListModelMixin, viewsets.GenericViewSet[M], Generic[M]):
    """List and retrieve what the actor may see; everything else is 404, so that ids of others tell nothing.

    Attributes:
        secret_fields: members of answers that are shown once; they are blanked in replayed answers.
        view_action: the action that reading asks for; `{resource type}.view` unless set.
    """

    secret_fields: ClassVar[frozenset[str]] = frozenset()
    view_action: ClassVar[str] = ""

    @property
    def actor(self) -> Actor:
        return actor_of(self.request._request)

    def get_queryset(self) -> QuerySet[M]:
        queryset: QuerySet[M] = super().get_queryset()
        if getattr(self, "swagger_fake_view", False):
            return queryset.none()
        return ports.visible(queryset, self.actor, self.view_action or f"{type_of(queryset.model)}.view")

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return super().dispatch(request, *args, **kwargs)

    def validated(self, serializer_class: type[BaseSerializer[Any]], *, partial: bool = False) -> dict[str, Any]:
        """The request's body, checked. Unknown members are refused, so that a typing error cannot pass as a default."""
        serializer = serializer_class(data=self.request.data, partial=partial, context=self.get_serializer_context())
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)

    def answer(self, row: Model, *, status: int = 200, **extra: Any) -> Response:
        """The row as this resource shows it, with members that exist only in this answer (a secret shown once)."""
        return Response({**self.get_serializer(row).data, **extra}, status=status)

    def once(self, request: Request, act: Any) -> Response:
        """Honour `Idempotency-Key` around `act()`."""
        return run_once(request, act, secret_fields=self.secret_fields)
