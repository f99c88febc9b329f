"""Releases, deployments and rollouts as the API shows and takes them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.core.serializers import StrictSerializer
from apps.deployments.models import NOTE_MAX_LENGTH, Deployment, Release, Rollout
from apps.deployments.queries import ADJECTIVES, DeploymentStatus
from contract.canonical import strict_loads


class NoteBody(StrictSerializer):
    """Body of a change that only needs to say why."""

    note = serializers.CharField(
        required=False, allow_blank=True, max_length=NOTE_MAX_LENGTH, help_text="Why, for the history."
    )


class StepBody(StrictSerializer):
    """Body of what ends the present step of a rollout."""

    step = serializers.IntegerField(
        required=False,
        min_value=1,
        help_text="Number of the step that was looked at; a conflict if the rollout is at another one by now. "
        "Whichever is present unless given.",
    )


class NewDeployment(NoteBody):
    """Body of a deploy."""

    agent = serializers.CharField(max_length=100, help_text="Slug of the agent.")
    version = serializers.IntegerField(
        required=False, min_value=1, help_text="Number of the version; the newest unless given."
    )
    environment = serializers.CharField(max_length=100, help_text="Slug of the environment.")
    redeploy = serializers.BooleanField(
        required=False, help_text="Send the version again also if it runs there already; otherwise that is a conflict."
    )
    release_hold = serializers.BooleanField(
        required=False, help_text="Lift the hold that a rollback left; otherwise a held deployment is a conflict."
    )


class RollbackBody(NoteBody):
    """Body of a rollback."""

    to = serializers.UUIDField(
        required=False, help_text="Id of a release that ran there; the one before the present unless given."
    )


class ReleaseSummarySerializer(serializers.ModelSerializer[Release]):
    """A release without its body."""

    agent = serializers.CharField(source="agent_version.agent.slug", read_only=True)
    version = serializers.IntegerField(source="agent_version.number", read_only=True)

    class Meta:
        model = Release
        fields: tuple[str, ...] = ("id", "digest", "agent", "version", "created_at")


class ReleaseSerializer(ReleaseSummarySerializer):
    """A release with what gateways get."""

    body = serializers.SerializerMethodField(help_text="The canonical release document.")

    class Meta(ReleaseSummarySerializer.Meta):
        fields = (*ReleaseSummarySerializer.Meta.fields, "body")

    @extend_schema_field(serializers.DictField())
    def get_body(self, release: Release) -> dict[str, Any]:
        document: dict[str, Any] = strict_loads(bytes(release.body))
        return document


class GatewayProgressSerializer(serializers.Serializer[Any]):
    """Where one gateway stands."""

    gateway = serializers.CharField(source="gateway.name")
    status = serializers.CharField()
    reason = serializers.CharField()
    confirmed = serializers.BooleanField(help_text="Whether it was seen to hold what is wanted.")
    desired_generation = serializers.IntegerField(source="placement.desired_generation", default=0)
    observed_generation = serializers.IntegerField(source="placement.observed_generation", default=0)
    attempts = serializers.IntegerField(source="placement.attempts", default=0)
    next_attempt_at = serializers.DateTimeField(allow_null=True, help_text="Null where nothing is left to try.")


class HoldSerializer(serializers.Serializer[Any]):
    """Why automation must leave a deployment alone."""

    reason = serializers.CharField(source="hold_reason")
    by = serializers.CharField(source="held_by")
    since = serializers.DateTimeField(source="held_since")


class DeploymentSerializer(serializers.ModelSerializer[Deployment]):
    """A deployment with its status of this moment. `statuses` in the context holds those of a page."""

    agent = serializers.CharField(source="agent.slug", read_only=True)
    environment = serializers.CharField(source="environment.slug", read_only=True)
    version = serializers.IntegerField(
        source="release.number",
        default=None,
        read_only=True,
        allow_null=True,
        help_text="Null: nothing is wanted.",
    )
    release = ReleaseSummarySerializer(read_only=True, allow_null=True)
    status = serializers.SerializerMethodField()
    reason = serializers.SerializerMethodField(help_text="Why it has this status, and what it waits for.")
    gateways = serializers.SerializerMethodField()
    hold = serializers.SerializerMethodField()

    class Meta:
        model = Deployment
        fields = (
            "id", "registration", "agent", "environment", "version", "release", "generation", "status", "reason",
            "hold", "gateways", "created_at", "updated_at",
        )  # fmt: skip

    def _status(self, deployment: Deployment) -> DeploymentStatus:
        found: DeploymentStatus = self.context["statuses"][deployment.pk]
        return found

    @extend_schema_field(serializers.ChoiceField(choices=list(ADJECTIVES)))
    def get_status(self, deployment: Deployment) -> str:
        return self._status(deployment).adjective

    def get_reason(self, deployment: Deployment) -> str:
        return self._status(deployment).reason

    @extend_schema_field(GatewayProgressSerializer(many=True))
    def get_gateways(self, deployment: Deployment) -> Any:
        return GatewayProgressSerializer(self._status(deployment).gateways, many=True).data

    @extend_schema_field(HoldSerializer(allow_null=True))
    def get_hold(self, deployment: Deployment) -> Any:
        return HoldSerializer(deployment).data if deployment.held else None


class RolloutSerializer(serializers.ModelSerializer[Rollout]):
    """One change of a deployment."""

    agent = serializers.CharField(source="deployment.agent.slug", read_only=True)
    environment = serializers.CharField(source="deployment.environment.slug", read_only=True)
    from_version = serializers.IntegerField(source="from_release.number", default=None, read_only=True, allow_null=True)
    to_version = serializers.IntegerField(source="to_release.number", default=None, read_only=True, allow_null=True)
    started_at = serializers.DateTimeField(read_only=True)

    class Meta:
        model = Rollout
        fields: tuple[str, ...] = (
            "id", "deployment", "agent", "environment", "generation", "kind", "strategy", "from_release",
            "from_version", "to_release", "to_version", "state", "reason", "note", "started_by", "started_at",
            "finished_at", "paused_at", "paused_by", "pause_reason",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields
