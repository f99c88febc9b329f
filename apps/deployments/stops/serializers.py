"""Stops as the API shows and takes them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.core.serializers import StrictSerializer
from apps.deployments.models import NOTE_MAX_LENGTH, Stop, StopReceipt
from apps.deployments.stops.queries import ADJECTIVES, StopStatus, statement_of


class ReasonBody(StrictSerializer):
    """Body of an act that has to say why."""

    reason = serializers.CharField(max_length=NOTE_MAX_LENGTH, help_text="Why; it stands wherever the stop is felt.")


class NewStop(ReasonBody):
    """Body of a stop: exactly one of agent, release and author."""

    agent = serializers.CharField(required=False, max_length=100, help_text="Slug of the agent to stop.")
    release = serializers.UUIDField(required=False, help_text="Id of the release to stop.")
    author = serializers.EmailField(required=False, help_text="Email address of the member whose agents to stop.")
    environment = serializers.CharField(
        required=False, allow_null=True, max_length=100, help_text="Slug of the environment; all unless given."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        named = [name for name in ("agent", "release", "author") if name in attrs]
        if len(named) != 1:
            raise serializers.ValidationError("Name exactly one of agent, release and author.")
        return attrs


class StatementSerializer(serializers.Serializer[Any]):
    """What a gateway signed, field by field."""

    gateway = serializers.CharField(help_text="The gateway's own id.")
    kind = serializers.CharField()
    name = serializers.CharField(help_text="The stop's id.")
    generation = serializers.IntegerField()
    digest = serializers.CharField(help_text="Of the payload that the gateway holds.")
    at = serializers.CharField(help_text="Since when it is in force there, word for word as it was signed.")


class StopReceiptSerializer(serializers.Serializer[StopReceipt]):
    """A gateway's signed statement, with what is needed to verify it."""

    statement = serializers.SerializerMethodField()
    signature = serializers.CharField(help_text="Ed25519, as base64url without padding.")
    public_key = serializers.CharField(help_text="The key that was pinned when the gateway was registered.")
    arrived_at = serializers.DateTimeField(help_text="When Studio had it and found it genuine.")

    @extend_schema_field(StatementSerializer)
    def get_statement(self, receipt: StopReceipt) -> dict[str, Any]:
        return statement_of(receipt)


class GatewayStandSerializer(serializers.Serializer[Any]):
    """Where one gateway stands with a stop."""

    gateway = serializers.CharField(source="name")
    environment = serializers.CharField(allow_blank=True)
    confirmed = serializers.BooleanField(help_text="Whether it holds what is wanted and, while stopped, signed so.")
    reason = serializers.CharField(help_text="Why not, and when it is tried next; or what it confirmed.")
    next_act_at = serializers.DateTimeField(allow_null=True)
    signed_ms = serializers.IntegerField(
        allow_null=True, help_text="From the act to the beginning of obedience that the gateway signed."
    )
    arrived_ms = serializers.IntegerField(
        allow_null=True, help_text="From the act until Studio had the verified receipt."
    )
    receipt = StopReceiptSerializer(allow_null=True)


class StopSerializer(serializers.ModelSerializer[Stop]):
    """A stop with its status of this moment. `statuses` in the context holds those of a page."""

    id = serializers.CharField(source="public_id", read_only=True)
    of = serializers.CharField(source="label", read_only=True, help_text="The subject, as it was called then.")
    agent = serializers.CharField(source="agent.slug", default=None, read_only=True, allow_null=True)
    author = serializers.EmailField(source="author.email", default=None, read_only=True, allow_null=True)
    environment = serializers.CharField(
        source="environment.slug", default=None, read_only=True, allow_null=True, help_text="Null: all of them."
    )
    agents = serializers.ListField(source="slugs", child=serializers.CharField(), read_only=True)
    releases = serializers.ListField(source="digests", child=serializers.CharField(), read_only=True)
    status = serializers.SerializerMethodField()
    status_reason = serializers.SerializerMethodField()
    started_at = serializers.DateTimeField(source="created_at", read_only=True)
    gateways = serializers.SerializerMethodField()

    class Meta:
        model = Stop
        fields = (
            "id", "subject", "of", "agent", "release", "author", "environment", "agents", "releases", "reason",
            "status", "status_reason", "started_by", "started_at", "confirmed_at", "lifted_at", "lifted_by",
            "lift_reason", "gateways",
        )  # fmt: skip
        read_only_fields = fields

    def _status(self, stop: Stop) -> StopStatus:
        found: StopStatus = self.context["statuses"][stop.pk]
        return found

    @extend_schema_field(serializers.ChoiceField(choices=list(ADJECTIVES)))
    def get_status(self, stop: Stop) -> str:
        return self._status(stop).adjective

    def get_status_reason(self, stop: Stop) -> str:
        return self._status(stop).reason

    @extend_schema_field(GatewayStandSerializer(many=True))
    def get_gateways(self, stop: Stop) -> Any:
        return GatewayStandSerializer(self._status(stop).gateways, many=True).data
