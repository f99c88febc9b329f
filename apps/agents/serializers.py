"""Agents as the API reads and shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from apps.agents.definitions import (
    DEFAULT_MAX_TOKENS,
    DEFAULT_PROFILE,
    DEFAULT_TEMPERATURE,
    Definition,
)
from apps.agents.models import NAME_MAX_LENGTH, NOTE_MAX_LENGTH, Agent, AgentVersion
from apps.core.serializers import StrictSerializer
from contract.names import SLUG_MAX_LENGTH

STATES = ("draft", "published", "changed", "deleted")
_SUMMARY = (
    "id", "slug", "name", "description", "model_profile", "memory", "state", "state_reason", "latest_version",
    "published_at", "owner", "revision", "created_at", "created_by", "updated_at", "updated_by", "deleted_at",
)  # fmt: skip
_JSON_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "name": ((str,), "a string"),
    "description": ((str,), "a string"),
    "instructions": ((str,), "a string"),
    "model_profile": ((str,), "a string"),
    "slug": ((str,), "a string"),
    "note": ((str,), "a string"),
    "owner": ((str,), "a string"),
    "temperature": ((int, float), "a number"),
    "max_tokens": ((int,), "an integer"),
    "revision": ((int,), "an integer"),
    "memory": ((bool,), "true or false"),
    "input_schema": ((dict,), "an object"),
    "output_schema": ((dict, type(None)), "an object or null"),
}


class TypedSerializer(StrictSerializer):
    """A body whose members have the JSON types they are declared with: "0.5" is no number and 1 is not true."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            errors = {name: [f"Must be {wording}."] for name, wording in self._mistyped(data)}
            if errors:
                raise serializers.ValidationError(errors)
        return super().to_internal_value(data)

    @staticmethod
    def _mistyped(data: Mapping[str, Any]) -> list[tuple[str, str]]:
        found = []
        for name, value in data.items():
            types, wording = _JSON_TYPES.get(name, ((object,), ""))
            if not isinstance(value, types) or (isinstance(value, bool) and bool not in types and object not in types):
                found.append((name, wording))
        return found


class DefinitionSerializer(TypedSerializer):
    """The members of a definition. What they may hold is checked by the command, which names each wrong field."""

    name = serializers.CharField(help_text="What people call the agent.")
    description = serializers.CharField(required=False, allow_blank=True, help_text="What it is for.")
    instructions = serializers.CharField(
        trim_whitespace=False, help_text="The system prompt; `{{name}}` stands for the input of that name."
    )
    model_profile = serializers.CharField(
        required=False, help_text=f"Which of the gateway's models answers; “{DEFAULT_PROFILE}” unless given."
    )
    temperature = serializers.FloatField(required=False, help_text=f"0 to 2; {DEFAULT_TEMPERATURE} unless given.")
    max_tokens = serializers.IntegerField(
        required=False, help_text=f"The most tokens of one answer; {DEFAULT_MAX_TOKENS} unless given."
    )
    memory = serializers.BooleanField(
        required=False, help_text="Whether the agent sees the earlier messages of a caller's session."
    )
    input_schema = serializers.DictField(
        required=False, help_text="JSON Schema (an object) of what callers send; a required `message` unless given."
    )
    output_schema = serializers.DictField(
        required=False, allow_null=True, help_text="JSON Schema (an object) of the answer; null for plain text."
    )


class NewAgent(DefinitionSerializer):
    """Body of making an agent."""

    slug = serializers.CharField(
        max_length=SLUG_MAX_LENGTH, help_text="Its name in addresses and on gateways. It never changes."
    )


class AgentChange(DefinitionSerializer):
    """Body of changing a draft. Members that are left out stay as they are."""

    revision = serializers.IntegerField(help_text="The revision that you saw; a conflict if the draft has another one.")
    name = serializers.CharField(required=False)
    instructions = serializers.CharField(required=False, trim_whitespace=False)


class NewVersion(TypedSerializer):
    """Body of publishing."""

    note = serializers.CharField(
        required=False, allow_blank=True, max_length=NOTE_MAX_LENGTH, help_text="What changed and why."
    )
    revision = serializers.IntegerField(
        required=False, help_text="Publish only if the draft still has this revision; otherwise a conflict."
    )


class VersionRestoration(TypedSerializer):
    """Body of taking a version into the draft."""

    revision = serializers.IntegerField(
        required=False, help_text="Replace the draft only if it still has this revision; otherwise a conflict."
    )


class Duplication(TypedSerializer):
    """Body of copying an agent."""

    slug = serializers.CharField(max_length=SLUG_MAX_LENGTH)
    name = serializers.CharField(required=False, max_length=NAME_MAX_LENGTH)


class HandOver(TypedSerializer):
    """Body of making another member the owner."""

    owner = serializers.EmailField(help_text="Email address of the member.")


class AgentSummarySerializer(serializers.ModelSerializer[Agent]):
    """An agent in a list, without the texts of its draft."""

    state = serializers.ChoiceField(choices=STATES, read_only=True)
    state_reason = serializers.CharField(read_only=True)
    latest_version = serializers.IntegerField(
        source="latest_number", read_only=True, allow_null=True, help_text="Number of the newest version, if any."
    )
    published_at = serializers.DateTimeField(read_only=True, allow_null=True)
    owner = serializers.EmailField(
        source="owner.email", default=None, read_only=True, allow_null=True, help_text="The member who answers for it."
    )

    class Meta:
        model = Agent
        fields: tuple[str, ...] = _SUMMARY


class AgentSerializer(AgentSummarySerializer):
    """An agent with its draft."""

    input_schema = serializers.DictField(read_only=True)
    output_schema = serializers.DictField(read_only=True, allow_null=True)

    class Meta(AgentSummarySerializer.Meta):
        fields = (*_SUMMARY, "instructions", "temperature", "max_tokens", "input_schema", "output_schema")


class AgentVersionSummarySerializer(serializers.ModelSerializer[AgentVersion]):
    """A version in a list."""

    agent = serializers.SlugRelatedField[Agent](slug_field="slug", read_only=True)

    class Meta:
        model = AgentVersion
        fields: tuple[str, ...] = ("id", "agent", "number", "note", "published_by", "published_at", "content_digest")


class AgentVersionSerializer(AgentVersionSummarySerializer):
    """A version with everything that it froze."""

    content = DefinitionSerializer(read_only=True)

    class Meta(AgentVersionSummarySerializer.Meta):
        fields = (*AgentVersionSummarySerializer.Meta.fields, "content")


class SegmentSerializer(serializers.Serializer[Any]):
    """A piece of a line."""

    text = serializers.CharField()
    changed = serializers.BooleanField()


class LineSerializer(serializers.Serializer[Any]):
    """A line of a text's difference; `skipped` stands for equal lines that are left out."""

    kind = serializers.ChoiceField(choices=["same", "removed", "added", "skipped"])
    old = serializers.IntegerField(allow_null=True, help_text="Line number from 1 in the old text.")
    new = serializers.IntegerField(allow_null=True, help_text="Line number from 1 in the new text.")
    segments = SegmentSerializer(many=True)


class EditSerializer(serializers.Serializer[Any]):
    """A place in a structured value that differs."""

    path = serializers.CharField(allow_blank=True)
    kind = serializers.ChoiceField(choices=["added", "removed", "changed"])
    before = serializers.JSONField(allow_null=True)
    after = serializers.JSONField(allow_null=True)


class FieldChangeSerializer(serializers.Serializer[Any]):
    """A member that differs: `lines` for texts, `edits` for schemas."""

    field = serializers.ChoiceField(choices=list(Definition.NAMES))
    before = serializers.JSONField(allow_null=True)
    after = serializers.JSONField(allow_null=True)
    lines = LineSerializer(many=True)
    edits = EditSerializer(many=True)


class DifferenceSerializer(serializers.Serializer[Any]):
    """What differs between two states of an agent."""

    old = serializers.CharField(help_text="`draft` or a version's number.")
    new = serializers.CharField(help_text="`draft` or a version's number.")
    changes = FieldChangeSerializer(many=True)
