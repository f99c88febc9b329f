"""API of the log: reading and verifying."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.response import Response

from apps.audit.chain import verify
from apps.audit.filters import EventFilter
from apps.audit.models import Event
from apps.core.api import ResourceViewSet
from apps.core.commands import require

if TYPE_CHECKING:
    from rest_framework.request import Request


class EventSerializer(serializers.ModelSerializer[Event]):
    """An event, with its place in the chain."""

    class Meta:
        model = Event
        fields = [field.name for field in Event._meta.concrete_fields]


class VerificationSerializer(serializers.Serializer[object]):
    """What reading the whole chain found."""

    events = serializers.IntegerField(help_text="How many events were read.")
    intact = serializers.BooleanField()
    broken_at = serializers.IntegerField(
        allow_null=True, help_text="Sequence number of the first event that does not fit."
    )
    problem = serializers.CharField(allow_blank=True)


class EventViewSet(ResourceViewSet[Event]):
    """The audit log, newest first. It can be read and nothing else."""

    queryset = Event.objects.all()
    serializer_class = EventSerializer
    filterset_class = EventFilter
    ordering = "-sequence"
    lookup_field = "sequence"
    lookup_value_regex = r"\d{1,18}"

    @extend_schema(responses=VerificationSerializer, filters=False)
    @action(detail=False, methods=["get"], pagination_class=None)
    def verification(self, request: Request) -> Response:
        """Read the chain from its first event and check every link."""
        require(self.actor, "event.view")
        result = verify()
        return Response(
            {
                "events": result.events,
                "intact": result.broken_at is None,
                "broken_at": result.broken_at,
                "problem": result.problem,
            }
        )
