"""API of stops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.response import Response

from apps.accounts.models import User
from apps.agents.models import Agent
from apps.core.api import ResourceViewSet
from apps.core.errors import Invalid
from apps.core.ports import ports
from apps.deployments import commands
from apps.deployments.models import Release, Stop
from apps.deployments.stops import serializers
from apps.deployments.stops.filters import StopApiFilter
from apps.deployments.stops.queries import statuses
from apps.gateways.models import Environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Model, QuerySet
    from rest_framework.request import Request

M = TypeVar("M", bound="Model")


class StopViewSet(ResourceViewSet[Stop]):
    """What must not run, since when and why, and which gateways have signed that it does not."""

    queryset = Stop.objects.select_related("agent", "author", "environment")
    serializer_class = serializers.StopSerializer
    filterset_class = StopApiFilter
    lookup_field = "public_id"
    lookup_url_kwarg = "public_id"
    lookup_value_regex = "[a-z0-9]{8,40}"
    ordering = "-created_at"
    ordering_fields = ("created_at", "lifted_at")

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Stops, newest first, with where each gateway stands."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self._shown(page or []))

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """One stop, with every gateway's signed receipt."""
        return Response(self._shown([self.get_object()])[0])

    @extend_schema(request=serializers.NewStop, responses={201: serializers.StopSerializer})
    def create(self, request: Request) -> Response:
        """Stop an agent, a release or everything that a member owns, in one environment or in all."""

        def act() -> Response:
            stop = self._begin(self.validated(serializers.NewStop))
            return Response(self._shown([stop])[0], status=201)

        return self.once(request, act)

    @extend_schema(request=serializers.ReasonBody, responses=serializers.StopSerializer)
    @action(detail=True, methods=["post"])
    def lift(self, request: Request, **_: str) -> Response:
        """End the stop: what it covered may run again."""
        stop = self.get_object()

        def act() -> Response:
            commands.lift_stop(actor=self.actor, stop=stop, **self.validated(serializers.ReasonBody))
            return Response(self._shown([self.get_object()])[0])

        return self.once(request, act)

    @extend_schema(request=None, responses=serializers.StopSerializer)
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, **_: str) -> Response:
        """Try the gateways that have not confirmed again now."""
        stop = self.get_object()

        def act() -> Response:
            commands.retry_stop(actor=self.actor, stop=stop)
            return Response(self._shown([self.get_object()])[0])

        return self.once(request, act)

    def _begin(self, body: dict[str, Any]) -> Stop:
        slug = body.get("environment")
        where = {
            "environment": self._named(Environment.objects.all(), "environment", slug=slug) if slug else None,
            "reason": body["reason"],
        }
        if "agent" in body:
            agent = self._named(Agent.objects.all(), "agent", slug=body["agent"])
            return commands.stop_agent(actor=self.actor, agent=agent, **where)
        if "release" in body:
            releases = Release.objects.select_related("agent_version__agent")
            release = self._named(releases, "release", pk=body["release"])
            return commands.stop_release(actor=self.actor, release=release, **where)
        author = self._named(User.objects.all(), "author", "user", email=body["author"])
        return commands.stop_author(actor=self.actor, author=author, **where)

    def _named(self, rows: QuerySet[M], field: str, resource: str = "", **key: Any) -> M:
        """The row that a body names.

        Raises:
            Invalid: there is none such that the actor may see.
        """
        row: M | None = ports.visible(rows, self.actor, f"{resource or field}.view").filter(**key).first()
        if row is None:
            named = next(iter(key.values()))
            raise Invalid(fields={field: [f"There is no {resource or field} “{named}”, or you may not see it."]})
        return row

    def _shown(self, stops: Sequence[Stop]) -> Any:
        context = {**self.get_serializer_context(), "statuses": statuses(stops)}
        return serializers.StopSerializer(stops, many=True, context=context).data
