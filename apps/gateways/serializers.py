"""Environments, gateways, keys and placements as the API reads and shows them."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from rest_framework import serializers

from apps.core.serializers import StrictSerializer
from apps.gateways.models import CallerKey, Environment, Gateway, Placement
from apps.gateways.models.environments import DEFAULT_POLL_INTERVAL_S
from apps.gateways.models.gateways import NAME_MAX_LENGTH
from apps.gateways.models.keys import KEY_NAME_MAX_LENGTH
from apps.gateways.queries import confirmations, environment_status, key_status, shown_status
from contract.caller_keys import RATE_LIMIT_MAX, BudgetWindow
from contract.canonical import MAX_SAFE_INTEGER
from contract.names import ENVIRONMENT_MAX_LENGTH


class EnvironmentSerializer(serializers.ModelSerializer[Environment]):
    """An environment with a summary of its gateways."""

    status = serializers.SerializerMethodField()
    status_reason = serializers.SerializerMethodField()
    gateways = serializers.IntegerField(source="gateways_total", read_only=True, help_text="How many there are.")
    gateways_answering = serializers.IntegerField(read_only=True, help_text="How many of them answer polls.")

    class Meta:
        model = Environment
        fields = (
            "id", "slug", "name", "order", "poll_interval_s", "caller_url", "status", "status_reason", "gateways",
            "gateways_answering", "created_at", "updated_at",
        )  # fmt: skip

    def get_status(self, row: Any) -> str:
        return environment_status(row.gateways_total, row.gateways_answering)[0]

    def get_status_reason(self, row: Any) -> str:
        return environment_status(row.gateways_total, row.gateways_answering)[1]


class EnvironmentChange(StrictSerializer):
    """Body of changing an environment. Members that are left out stay as they are."""

    name = serializers.CharField(required=False)
    order = serializers.IntegerField(required=False)
    poll_interval_s = serializers.IntegerField(required=False, help_text="Seconds between two polls, 1 to 3600.")
    caller_url = serializers.CharField(
        required=False, allow_blank=True, help_text="Where callers reach its gateways, if behind a load balancer."
    )


class NewEnvironment(StrictSerializer):
    """Body of making an environment."""

    slug = serializers.CharField(
        max_length=ENVIRONMENT_MAX_LENGTH, help_text="The end of every registration's name in it; never changes."
    )
    name = serializers.CharField()
    order = serializers.IntegerField(required=False, help_text="Where it stands among the others; last unless given.")
    poll_interval_s = serializers.IntegerField(required=False, default=DEFAULT_POLL_INTERVAL_S)
    caller_url = serializers.CharField(required=False, allow_blank=True, default="")


class GatewaySerializer(serializers.ModelSerializer[Gateway]):
    """A gateway as it was last seen. Its deploy token is never shown."""

    environment = serializers.SlugRelatedField[Environment](slug_field="slug", read_only=True)
    status = serializers.SerializerMethodField(help_text="Never without its reason.")
    status_reason = serializers.SerializerMethodField()
    labels = serializers.DictField(child=serializers.CharField(), read_only=True)
    waiting = serializers.IntegerField(read_only=True, help_text="Things that it should hold or lose and does not yet.")

    class Meta:
        model = Gateway
        fields = (
            "id", "name", "environment", "address", "labels", "status", "status_reason", "status_since", "gateway_id",
            "public_key", "version", "boot_id", "revision", "in_flight", "max_concurrent", "registrations", "waiting",
            "latency_ms", "started_at", "last_seen_at", "next_poll_at", "leaving_at", "created_at",
        )  # fmt: skip

    def get_status(self, row: Gateway) -> str:
        return shown_status(row)[0]

    def get_status_reason(self, row: Gateway) -> str:
        return shown_status(row)[1]


class NewGateway(StrictSerializer):
    """Body of registering a gateway."""

    environment = serializers.CharField(help_text="Slug of the environment that it serves, for good.")
    name = serializers.CharField(max_length=NAME_MAX_LENGTH, help_text="Lower-case letters, digits and hyphens.")
    address = serializers.CharField(max_length=300, help_text="http(s)://host:port")
    deploy_token = serializers.CharField(
        max_length=500, write_only=True, help_text="Stored encrypted, shown never again."
    )
    labels = serializers.DictField(
        child=serializers.CharField(),
        required=False,
        help_text='What waves of a rollout may choose it by: `{"region": "eu"}`.',
    )


class GatewayChange(StrictSerializer):
    """Body of changing a gateway. Members that are left out stay as they are."""

    address = serializers.CharField(required=False, max_length=300)
    deploy_token = serializers.CharField(required=False, max_length=500, write_only=True)
    labels = serializers.DictField(child=serializers.CharField(), required=False, help_text="Replaces all of them.")


_KEY = (
    "id", "public_id", "name", "environment", "scopes", "hint", "state", "expires_at", "revoked_at", "last_used_at",
    "created_by", "created_at", "limits",
)  # fmt: skip


class BudgetSerializer(StrictSerializer):
    """What a key may spend in each window."""

    amount = serializers.IntegerField(
        min_value=1, max_value=MAX_SAFE_INTEGER, help_text="Tokens, or millionths of the currency's unit."
    )
    unit = serializers.CharField(help_text="`tokens`, or a currency such as EUR.")
    window = serializers.ChoiceField(
        choices=[window.value for window in BudgetWindow], help_text="Of the UTC calendar."
    )


class LimitsSerializer(StrictSerializer):
    """Limits of a key. What is left out, or null, is no limit."""

    requests_per_minute = serializers.IntegerField(
        required=False, allow_null=True, min_value=1, max_value=RATE_LIMIT_MAX, help_text="Calls in any 60 seconds."
    )
    tokens_per_minute = serializers.IntegerField(
        required=False, allow_null=True, min_value=1, max_value=MAX_SAFE_INTEGER, help_text="Read and written together."
    )
    concurrent = serializers.IntegerField(
        required=False, allow_null=True, min_value=1, max_value=RATE_LIMIT_MAX, help_text="Executions at once."
    )
    budget = BudgetSerializer(required=False, allow_null=True)


class KeySerializer(serializers.ModelSerializer[CallerKey]):
    """A caller key. Its text is only in the answer to its making."""

    environment = serializers.SlugRelatedField[Environment](slug_field="slug", read_only=True)
    state = serializers.CharField(read_only=True, help_text="active, expiring (within a week), expired or revoked")
    scopes = serializers.ListField(child=serializers.CharField(), help_text="Names of registrations, or `*` for all.")
    limits = LimitsSerializer(read_only=True, help_text="null where there is none.")

    class Meta:
        model = CallerKey
        fields: tuple[str, ...] = _KEY


class ConfirmationSerializer(serializers.Serializer[Any]):
    """Whether one gateway holds a key, or its revocation."""

    gateway = serializers.CharField(source="gateway.name")
    confirmed = serializers.BooleanField()
    reason = serializers.CharField()
    since = serializers.DateTimeField(allow_null=True)


class KeyDetailSerializer(KeySerializer):
    """A caller key with what its gateways confirmed."""

    status = serializers.SerializerMethodField(help_text="Such as `revoking`, until every gateway has confirmed.")
    status_reason = serializers.SerializerMethodField()
    gateways = serializers.SerializerMethodField()

    class Meta(KeySerializer.Meta):
        fields: tuple[str, ...] = (*_KEY, "status", "status_reason", "gateways")

    def get_status(self, row: CallerKey) -> str:
        return key_status(row, confirmations(row))[0]

    def get_status_reason(self, row: CallerKey) -> str:
        return key_status(row, confirmations(row))[1]

    def get_gateways(self, row: CallerKey) -> list[dict[str, Any]]:
        return list(ConfirmationSerializer(confirmations(row), many=True).data)


class MadeKey(KeyDetailSerializer):
    """A caller key at the moment of its making."""

    key = serializers.CharField(read_only=True, help_text="The whole key. Shown this once and kept nowhere.")

    class Meta(KeyDetailSerializer.Meta):
        fields = (*_KEY, "status", "status_reason", "gateways", "key")


class NewKey(StrictSerializer):
    """Body of making a caller key."""

    environment = serializers.CharField(help_text="Slug of the environment whose gateways accept it.")
    name = serializers.CharField(max_length=KEY_NAME_MAX_LENGTH, help_text="What will use it.")
    scopes = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="Names of registrations; everything unless given."
    )
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
    limits = LimitsSerializer(required=False, help_text="None unless given.")


class KeyChange(StrictSerializer):
    """Body of changing a key."""

    limits = LimitsSerializer(help_text="Replace all of them: what is left out ends.")


class ConditionSerializer(serializers.Serializer[Any]):
    """A fact about a placement."""

    type = serializers.CharField()
    reason = serializers.CharField()
    message = serializers.CharField()
    since = serializers.DateTimeField()


class PlacementSerializer(serializers.ModelSerializer[Placement]):
    """One thing on one gateway: what should be there, and what is."""

    gateway = serializers.SlugRelatedField[Gateway](slug_field="name", read_only=True)
    environment = serializers.CharField(source="gateway.environment.slug", read_only=True)
    settled = serializers.BooleanField(read_only=True, help_text="Whether the gateway holds what is wanted.")
    tombstone = serializers.BooleanField(read_only=True, help_text="Whether it should be gone.")
    status = serializers.CharField(read_only=True)
    status_reason = serializers.SerializerMethodField()
    conditions = ConditionSerializer(many=True, read_only=True)
    next_attempt_at = serializers.DateTimeField(
        source="next_act_at",
        read_only=True,
        allow_null=True,
        help_text="When Studio acts next by itself; null once the gateway holds what is wanted.",
    )

    class Meta:
        model = Placement
        fields = (
            "id", "gateway", "environment", "kind", "name", "desired_generation", "desired_digest",
            "observed_generation", "observed_digest", "settled", "tombstone", "status", "status_reason", "conditions",
            "attempts", "next_attempt_at", "priority",
        )  # fmt: skip

    def get_status_reason(self, row: Placement) -> str:
        return row.reason(timezone.now())
