"""Plans and the course of rollouts as the API shows and takes them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.core.errors import Invalid
from apps.core.serializers import StrictSerializer
from apps.deployments.models import Rollout, RolloutPolicy, RolloutStep
from apps.deployments.queries import GATEWAY_STATES, STEP_STATES, progress_of
from apps.deployments.serializers import NewDeployment, RolloutSerializer
from apps.deployments.strategies.plans import STRATEGIES, Plan


class PlannedStepSerializer(serializers.Serializer[Any]):
    """One step of a plan."""

    share = serializers.CharField(
        help_text="What the new release has reached after it, as text. In waves, of the gateways: `1`, `25 %`, "
        "`region=eu` or `region=eu 50 %`; the last wave is `100 %`. In a canary, of the callers: `5 %`."
    )
    soak_s = serializers.IntegerField(
        required=False, help_text="Seconds to watch it once every gateway has confirmed; 0 unless given."
    )
    approval = serializers.BooleanField(
        required=False, help_text="Whether a person has to approve that it goes on; false unless given."
    )


class HealthGateSerializer(serializers.Serializer[Any]):
    """When the new release counts as worse than the old one. Members that are left out have their defaults."""

    error_rate_points = serializers.FloatField(required=False, help_text="Most that the error rate may rise; 5.")
    p95_ratio = serializers.FloatField(
        required=False, allow_null=True, help_text="Most of the 95th percentile of the latency, by the old one's; 2."
    )
    cost_ratio = serializers.FloatField(
        required=False, allow_null=True, help_text="Most of the cost of an execution, by the old one's; 1.5."
    )
    minimum_executions = serializers.IntegerField(required=False, help_text="Before anything is judged; 20.")
    patience_s = serializers.IntegerField(
        required=False, help_text="Seconds to wait for them after the soak, before a person has to decide; 1800."
    )


class PlanSerializer(serializers.Serializer[Any]):
    """How a change reaches the gateways."""

    strategy = serializers.ChoiceField(choices=list(STRATEGIES))
    steps = PlannedStepSerializer(many=True, required=False, help_text="The strategy's own unless given.")
    gate = HealthGateSerializer(
        required=False, allow_null=True, help_text="Null: nobody compares, and nothing rolls back by itself."
    )


@extend_schema_field(PlanSerializer)
class PlanField(serializers.JSONField):
    """A plan, read by the product's own rules, which say what is wrong with it."""

    def to_internal_value(self, data: Any) -> Any:
        try:
            return Plan.from_json(super().to_internal_value(data))
        except Invalid as error:
            raise serializers.ValidationError(error.fields["plan"]) from None

    def to_representation(self, value: Any) -> Any:
        return value.to_json() if isinstance(value, Plan) else value


@extend_schema_field(PlanSerializer(allow_null=True))
class OptionalPlanField(PlanField):
    """A plan, or null for none of one's own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_null=True, **options)


class PlannedDeployment(NewDeployment):
    """Body of a deploy, with how it goes."""

    plan = PlanField(required=False, help_text="As the deployment or else its environment does it, unless given.")


class DeploymentPlanBody(StrictSerializer):
    """Body of saying how later changes of a deployment go."""

    plan = OptionalPlanField(help_text="Null: as its environment does it.")


class PolicyBody(StrictSerializer):
    """Body of saying how changes go in an environment."""

    environment = serializers.CharField(max_length=100, help_text="Slug of the environment.")
    plan = PlanField()


class RolloutPolicySerializer(serializers.ModelSerializer[RolloutPolicy]):
    """How changes reach the gateways of an environment, unless a deployment or a deploy says otherwise."""

    environment = serializers.CharField(source="environment.slug", read_only=True)
    plan = PlanField(read_only=True)
    in_words = serializers.SerializerMethodField(help_text="The plan in a sentence.")

    class Meta:
        model = RolloutPolicy
        fields = ("environment", "plan", "in_words", "changed_by", "updated_at")

    def get_in_words(self, policy: RolloutPolicy) -> str:
        return Plan.from_json(policy.plan).in_words


class ReleaseFiguresSerializer(serializers.Serializer[Any]):
    """What a release did over a span."""

    executions = serializers.IntegerField(help_text="Those that callers did not cancel.")
    # `Serializer.errors` is what is wrong with an input; this one is never given any.
    errors = serializers.IntegerField()  # type: ignore[assignment]
    cancelled = serializers.IntegerField()
    error_rate = serializers.FloatField(allow_null=True, help_text="From 0 to 1; null without executions.")
    p50_ms = serializers.FloatField(allow_null=True)
    p95_ms = serializers.FloatField(allow_null=True)
    tokens_per_execution = serializers.FloatField(allow_null=True)
    cost_per_execution = serializers.DecimalField(
        None, None, allow_null=True, coerce_to_string=True, help_text="In `currency`; null without a price."
    )
    currency = serializers.CharField(allow_blank=True)


class GatewayInStepSerializer(serializers.Serializer[Any]):
    """A gateway that a step concerns."""

    gateway = serializers.CharField(source="gateway.name")
    state = serializers.ChoiceField(choices=list(GATEWAY_STATES))
    reason = serializers.CharField(allow_blank=True)
    next_attempt_at = serializers.DateTimeField(allow_null=True)


class StepProgressSerializer(serializers.Serializer[Any]):
    """One step of a rollout, and how far it came."""

    number = serializers.IntegerField()
    title = serializers.CharField(help_text="Such as “wave 2 of 3”.")
    kind = serializers.ChoiceField(choices=RolloutStep.Kind.choices, source="step.kind")
    share = serializers.CharField(source="step.share")
    state = serializers.ChoiceField(choices=list(STEP_STATES))
    soak_s = serializers.IntegerField(source="step.soak_s")
    approval = serializers.BooleanField(source="step.approval")
    gateways = GatewayInStepSerializer(many=True)
    started_at = serializers.DateTimeField(source="step.started_at", allow_null=True)
    placed_at = serializers.DateTimeField(
        source="step.placed_at", allow_null=True, help_text="When every one of its gateways had confirmed."
    )
    soaks_until = serializers.DateTimeField(source="step.soaks_until", allow_null=True)
    finished_at = serializers.DateTimeField(source="step.finished_at", allow_null=True)
    waits_for = serializers.CharField(allow_blank=True)
    next_at = serializers.DateTimeField(
        allow_null=True, help_text="When it goes on, or is looked at again, by itself; null: somebody has to act."
    )
    verdict = serializers.JSONField(
        allow_null=True, help_text="The newest comparison by the health gate, with both releases' figures."
    )
    decision = serializers.CharField(source="step.decision", allow_blank=True, help_text="Why it is finished.")
    approved_by = serializers.CharField(source="step.approved_by", allow_blank=True)
    forced_by = serializers.CharField(source="step.forced_by", allow_blank=True)


class RolloutProgressSerializer(serializers.Serializer[Any]):
    """Where a rollout is at this moment."""

    summary = serializers.CharField(help_text="Where it stands and what it waits for, in one line.")
    next_at = serializers.DateTimeField(allow_null=True)
    approvable = serializers.BooleanField(help_text="Whether it waits for an approval.")
    percent_of_callers = serializers.IntegerField(help_text="The part that a canary has; 0 without one.")
    old = ReleaseFiguresSerializer(allow_null=True, help_text="Since the present step is watched.")
    new = ReleaseFiguresSerializer(allow_null=True)
    steps = StepProgressSerializer(many=True)


class RolloutDetailSerializer(RolloutSerializer):
    """One change of a deployment, step by step."""

    plan = PlanField(read_only=True)
    progress = serializers.SerializerMethodField()

    class Meta(RolloutSerializer.Meta):
        fields = (*RolloutSerializer.Meta.fields, "plan", "progress")
        read_only_fields = fields

    @extend_schema_field(RolloutProgressSerializer())
    def get_progress(self, rollout: Rollout) -> Any:
        return RolloutProgressSerializer(progress_of(rollout)).data
