"""API of environments, gateways, caller keys and placements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.response import Response

from apps.core.api import ResourceViewSet
from apps.core.errors import Invalid
from apps.core.ports import ports
from apps.gateways import commands, serializers
from apps.gateways.filters import GatewayApiFilter, KeyApiFilter, PlacementApiFilter
from apps.gateways.models import CallerKey, Environment, Gateway, Placement
from apps.gateways.queries import environments_with_counts, gateways_with_waiting

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from rest_framework.request import Request
    from rest_framework.serializers import BaseSerializer

    from apps.core.actors import Actor

_FORCE = OpenApiParameter(
    "force", OpenApiTypes.BOOL, description="Forget it at once, without emptying it: for a gateway that is dead."
)


def named_environment(actor: Actor, slug: str) -> Environment:
    """The environment that a body names.

    Raises:
        Invalid: there is none, or the actor may not see it.
    """
    seen = ports.visible(Environment.objects.all(), actor, "environment.view")
    environment: Environment | None = seen.filter(slug=slug).first()
    if environment is None:
        raise Invalid(fields={"environment": [f"There is no environment “{slug}”."]})
    return environment


class EnvironmentViewSet(ResourceViewSet[Environment]):
    """The stages that agents run in."""

    queryset = Environment.objects.all()
    serializer_class = serializers.EnvironmentSerializer
    lookup_field = "slug"
    lookup_value_regex = r"[a-z0-9]+"
    ordering = ("order", "slug")

    def get_queryset(self) -> QuerySet[Environment]:
        return environments_with_counts(super().get_queryset())  # type: ignore[arg-type]  # the model's own kind

    @extend_schema(request=serializers.NewEnvironment, responses={201: serializers.EnvironmentSerializer})
    def create(self, request: Request) -> Response:
        """Make an environment."""

        def act() -> Response:
            body = self.validated(serializers.NewEnvironment)
            return self._answer(commands.create_environment(actor=self.actor, **body), status=201)

        return self.once(request, act)

    @extend_schema(request=serializers.EnvironmentChange, responses=serializers.EnvironmentSerializer)
    def partial_update(self, _request: Request, **_: str) -> Response:
        """Change how an environment is called, ordered, watched and reached."""
        environment = self.get_object()
        names = ("name", "order", "poll_interval_s", "caller_url")
        values = {name: getattr(environment, name) for name in names} | self.validated(serializers.EnvironmentChange)
        return self._answer(commands.edit_environment(actor=self.actor, environment=environment, **values))

    def _answer(self, row: Environment, *, status: int = 200) -> Response:
        return self.answer(environments_with_counts(Environment.objects.all()).get(pk=row.pk), status=status)


class GatewayViewSet(ResourceViewSet[Gateway]):
    """Gateways: registered by address and deploy token, and as they were last seen."""

    queryset = Gateway.objects.select_related("environment")
    serializer_class = serializers.GatewaySerializer
    filterset_class = GatewayApiFilter
    lookup_field = "name"
    lookup_value_regex = r"[a-z0-9-]+"
    ordering = "name"

    def get_queryset(self) -> QuerySet[Gateway]:
        return gateways_with_waiting(super().get_queryset())

    @extend_schema(request=serializers.NewGateway, responses={201: serializers.GatewaySerializer})
    def create(self, request: Request) -> Response:
        """Register a gateway. It receives everything that runs in its environment as soon as it answers."""

        def act() -> Response:
            body = self.validated(serializers.NewGateway)
            environment = named_environment(self.actor, body.pop("environment"))
            return self._answer(
                commands.register_gateway(actor=self.actor, environment=environment, **body), status=201
            )

        return self.once(request, act)

    @extend_schema(request=serializers.GatewayChange, responses=serializers.GatewaySerializer)
    def partial_update(self, _request: Request, **_: str) -> Response:
        """Change where a gateway is reached, the token that opens it, or its labels."""
        gateway = self.get_object()
        values = {"address": gateway.address} | self.validated(serializers.GatewayChange)
        return self._answer(commands.edit_gateway(actor=self.actor, gateway=gateway, **values))

    @extend_schema(parameters=[_FORCE], responses={202: serializers.GatewaySerializer, 204: None})
    def destroy(self, request: Request, **_: str) -> Response:
        """Empty a gateway and then forget it (202), or with `force` forget it at once (204)."""
        gateway = self.get_object()
        if _flag(request, "force"):
            commands.forget_gateway(actor=self.actor, gateway=gateway)
            return Response(status=204)
        return self._answer(commands.remove_gateway(actor=self.actor, gateway=gateway), status=202)

    @extend_schema(request=None, responses=serializers.GatewaySerializer)
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, **_: str) -> Response:
        """Try everything that waits for the gateway again now."""
        gateway = self.get_object()

        def act() -> Response:
            return self._answer(commands.retry_gateway(actor=self.actor, gateway=gateway))

        return self.once(request, act)

    @extend_schema(request=None, responses=serializers.GatewaySerializer)
    @action(detail=True, methods=["post"], url_path="accept-identity")
    def accept_identity(self, request: Request, **_: str) -> Response:
        """Accept whatever answers at the address next as this gateway: it was reinstalled."""
        gateway = self.get_object()

        def act() -> Response:
            return self._answer(commands.accept_identity(actor=self.actor, gateway=gateway))

        return self.once(request, act)

    def _answer(self, row: Gateway, *, status: int = 200) -> Response:
        rows = gateways_with_waiting(Gateway.objects.select_related("environment"))
        return self.answer(rows.get(pk=row.pk), status=status)


class KeyViewSet(ResourceViewSet[CallerKey]):
    """Caller keys: what applications call agents with."""

    queryset = CallerKey.objects.lasting().select_related("environment")
    serializer_class = serializers.KeyDetailSerializer
    filterset_class = KeyApiFilter
    secret_fields = frozenset({"key"})
    ordering = "-created_at"

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        return serializers.KeySerializer if self.action == "list" else serializers.KeyDetailSerializer

    @extend_schema(request=serializers.NewKey, responses={201: serializers.MadeKey})
    def create(self, request: Request) -> Response:
        """Make a key. The member `key` holds the whole of it, this once."""

        def act() -> Response:
            body = self.validated(serializers.NewKey)
            environment = named_environment(self.actor, body.pop("environment"))
            key, text = commands.create_key(actor=self.actor, environment=environment, **body)
            return self.answer(key, status=201, key=text.text)

        return self.once(request, act)

    @extend_schema(request=serializers.KeyChange, responses=serializers.KeyDetailSerializer)
    def partial_update(self, _request: Request, **_: str) -> Response:
        """Replace the limits of a key. What it has spent stays counted."""
        key = self.get_object()
        body = self.validated(serializers.KeyChange)
        return self.answer(commands.limit_key(actor=self.actor, key=key, **body))

    @extend_schema(request=None, responses=serializers.KeyDetailSerializer)
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, **_: str) -> Response:
        """End a key on every gateway; `gateways` says which have confirmed. Read the key again to see the rest."""
        key = self.get_object()
        return self.once(request, lambda: self.answer(commands.revoke_key(actor=self.actor, key=key)))


class PlacementViewSet(ResourceViewSet[Placement]):
    """What Studio wants on each gateway and what is there. Commands want things, the reconciler does them."""

    queryset = Placement.objects.explained()
    serializer_class = serializers.PlacementSerializer
    filterset_class = PlacementApiFilter
    ordering = ("gateway__name", "kind", "name")


def _flag(request: Request, name: str) -> bool:
    """A boolean of the query string.

    Raises:
        Invalid: it is neither true nor false.
    """
    value = request.query_params.get(name, "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise Invalid(fields={name: ["Write true or false."]})
    return value in ("true", "1")
