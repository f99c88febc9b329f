"""API of executions, their figures, and prices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core.api import ResourceViewSet
from apps.core.errors import Invalid
from apps.core.requests import actor_of
from apps.core.serializers import StrictSerializer
from apps.telemetry import commands
from apps.telemetry.commands import DECIMALS
from apps.telemetry.filters import ExecutionApiFilter
from apps.telemetry.live import require_executions
from apps.telemetry.models import Execution, ModelPrice
from apps.telemetry.queries import Activity, Figures, activity
from apps.telemetry.windows import DAY, WINDOWS, window_in

if TYPE_CHECKING:
    from rest_framework.request import Request


class ExecutionSerializer(serializers.ModelSerializer[Execution]):
    """An execution as the API shows one."""

    environment = serializers.SlugRelatedField[Any](slug_field="slug", read_only=True)
    gateway = serializers.CharField(source="gateway_name", read_only=True)
    agent = serializers.CharField(source="agent_slug", read_only=True)

    class Meta:
        model = Execution
        fields = (
            "id", "execution_id", "registration", "agent", "environment", "gateway", "release_digest", "key_id",
            "channel", "started_at", "duration_ms", "status", "error_code", "input_tokens", "output_tokens",
            "session_id",
        )  # fmt: skip


class ExecutionViewSet(ResourceViewSet[Execution]):
    """Executions as gateways logged them, newest first. They hold neither prompts nor answers."""

    queryset = Execution.objects.select_related("environment")
    serializer_class = ExecutionSerializer
    filterset_class = ExecutionApiFilter
    ordering = ("-started_at", "-id")


class FiguresSerializer(serializers.Serializer[Figures]):
    """Executions in numbers."""

    executions = serializers.IntegerField()
    succeeded = serializers.IntegerField()
    failed = serializers.IntegerField()
    timed_out = serializers.IntegerField()
    cancelled = serializers.IntegerField()
    # DRF's metaclass takes declared fields off the class, so its own `errors` stays what it was.
    errors = serializers.IntegerField(help_text="failed and timed out")  # type: ignore[assignment]
    error_share = serializers.FloatField(
        allow_null=True, help_text="0 to 1, of those that callers did not cancel; null without any"
    )
    p50_ms = serializers.FloatField(allow_null=True, help_text="median duration, from a histogram")
    p95_ms = serializers.FloatField(allow_null=True)
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()


class PointSerializer(FiguresSerializer):
    """The figures of one step."""

    start = serializers.DateTimeField()


class ExecutionMetricsSerializer(serializers.Serializer[Any]):
    """Figures over time; `points` has one entry for every step, also for those in which nothing ran."""

    window = serializers.ChoiceField(choices=list(WINDOWS))
    step_s = serializers.IntegerField(help_text="length of a step in seconds")
    total = FiguresSerializer()
    points = PointSerializer(many=True)


class ExecutionMetrics(APIView):
    """Executions, errors, durations and tokens over time."""

    lookups = {
        "agent": "agent_slug",
        "environment": "environment__slug",
        "gateway": "gateway__name",
        "registration": "registration",
        "release_digest": "release_digest",
    }

    @extend_schema(
        operation_id="metrics_executions",
        responses=ExecutionMetricsSerializer,
        parameters=[
            OpenApiParameter("window", str, enum=list(WINDOWS), default=DAY.key, description="Ends now"),
            *(OpenApiParameter(name, str, description="Only executions of this one") for name in lookups),
        ],
    )
    def get(self, request: Request) -> Response:
        """Read the figures of the executions that one may see."""
        unknown = sorted(set(request.query_params) - {"window", *self.lookups})
        if unknown:
            raise Invalid(fields={name: ["There is no such parameter."] for name in unknown})
        actor = actor_of(request._request)
        require_executions(actor)
        query = request.query_params
        where = {lookup: query[name] for name, lookup in self.lookups.items() if name in query}
        shown = activity(actor, window_in(query), where=where)
        return Response(ExecutionMetricsSerializer(_as_metrics(shown)).data)


def _as_metrics(shown: Activity) -> dict[str, Any]:
    points = [
        {**FiguresSerializer(step).data, "start": start} for start, step in zip(shown.starts, shown.steps, strict=True)
    ]
    return {
        "window": shown.window.key,
        "step_s": int(shown.window.step.total_seconds()),
        "total": shown.total,
        "points": points,
    }


class ModelPriceSerializer(serializers.ModelSerializer[ModelPrice]):
    """The price of a model profile; amounts are decimal strings."""

    class Meta:
        model = ModelPrice
        fields = ("profile", "currency", "input_per_million", "output_per_million", "updated_at")


class PriceBody(StrictSerializer):
    """Body of a price. The command says what is wrong with a value."""

    profile = serializers.CharField(max_length=100, help_text="As agents name it.")
    currency = serializers.CharField(max_length=10, help_text="Three letters of ISO 4217.")
    input_per_million = serializers.DecimalField(None, DECIMALS, help_text="For a million tokens read.")
    output_per_million = serializers.DecimalField(None, DECIMALS, help_text="For a million tokens written.")


class ModelPriceViewSet(ResourceViewSet[ModelPrice]):
    """What tokens cost, by model profile. Rollouts compare the cost of an execution with it."""

    queryset = ModelPrice.objects.all()
    serializer_class = ModelPriceSerializer
    lookup_field = "profile"
    lookup_value_regex = "[a-z0-9-]+"
    ordering = ("profile",)

    @extend_schema(request=PriceBody, responses=ModelPriceSerializer)
    def create(self, request: Request) -> Response:
        """Set the price of a model profile, in place of the one that it had."""

        def act() -> Response:
            return self.answer(commands.set_price(actor=self.actor, **self.validated(PriceBody)))

        return self.once(request, act)

    @extend_schema(responses={204: None})
    def destroy(self, _request: Request, **_: str) -> Response:
        """Remove a price."""
        commands.remove_price(actor=self.actor, price=self.get_object())
        return Response(status=204)
