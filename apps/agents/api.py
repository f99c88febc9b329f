"""API of agents and their versions."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.response import Response

from apps.accounts.models import User
from apps.agents import commands, serializers
from apps.agents.definitions import Definition
from apps.agents.filters import AgentApiFilter
from apps.agents.models import Agent, AgentVersion
from apps.agents.queries import DRAFT, compare, side
from apps.core.api import ResourceViewSet
from apps.core.errors import Invalid, NotFound
from apps.core.ports import ports

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from rest_framework.request import Request
    from rest_framework.serializers import BaseSerializer

_SLUG = r"[a-z0-9-]+"
_FROM = OpenApiParameter(
    "from", OpenApiTypes.STR, description="`draft` or a version's number; the newest version unless given."
)
_TO = OpenApiParameter("to", OpenApiTypes.STR, description="`draft` or a version's number; the draft unless given.")


class AgentViewSet(ResourceViewSet[Agent]):
    """Agents: a draft that is edited, and versions that never change."""

    queryset = Agent.objects.with_latest_version().select_related("owner")
    serializer_class = serializers.AgentSerializer
    filterset_class = AgentApiFilter
    lookup_field = "slug"
    lookup_value_regex = _SLUG
    ordering = "-updated_at"
    ordering_fields = ("name", "slug", "created_at", "updated_at")

    def get_queryset(self) -> QuerySet[Agent]:
        queryset = super().get_queryset()
        texts = ("instructions", "input_schema", "output_schema")
        return queryset.defer(*texts) if self.action == "list" else queryset

    def filter_queryset(self, queryset: QuerySet[Agent, Any]) -> QuerySet[Agent, Any]:
        # One agent is found by its slug alone, also a deleted one: it could not be restored otherwise.
        return super().filter_queryset(queryset) if self.action == "list" else queryset

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        return serializers.AgentSummarySerializer if self.action == "list" else serializers.AgentSerializer

    @extend_schema(request=serializers.NewAgent, responses={201: serializers.AgentSerializer})
    def create(self, request: Request) -> Response:
        """Make an agent. Its slug never changes; everything else is a draft."""

        def act() -> Response:
            body = self.validated(serializers.NewAgent)
            slug = body.pop("slug")
            return self._answer(commands.create(actor=self.actor, slug=slug, definition=Definition(**body)), status=201)

        return self.once(request, act)

    @extend_schema(request=serializers.AgentChange, responses=serializers.AgentSerializer)
    def partial_update(self, _request: Request, **_: str) -> Response:
        """Change the draft. A conflict if somebody else saved it since the revision that you saw."""
        agent: Agent = self.get_object()
        body = self.validated(serializers.AgentChange)
        revision = body.pop("revision")
        definition = agent.definition.replaced(**body)
        return self._answer(commands.edit(actor=self.actor, agent=agent, revision=revision, definition=definition))

    @extend_schema(responses={204: None})
    def destroy(self, _request: Request, **_: str) -> Response:
        """Put the agent away; it can be restored. A conflict while it is deployed."""
        commands.delete(actor=self.actor, agent=self.get_object())
        return Response(status=204)

    @extend_schema(request=None, responses=serializers.AgentSerializer)
    @action(detail=True, methods=["post"])
    def restore(self, request: Request, **_: str) -> Response:
        """Bring a deleted agent back."""
        agent = self.get_object()
        return self.once(request, lambda: self._answer(commands.restore(actor=self.actor, agent=agent)))

    @extend_schema(request=serializers.NewVersion, responses={201: serializers.AgentVersionSerializer})
    @action(detail=True, methods=["post"])
    def publish(self, request: Request, **_: str) -> Response:
        """Freeze the draft as the next version. A conflict when nothing changed since the last one."""
        agent = self.get_object()

        def act() -> Response:
            version = commands.publish(actor=self.actor, agent=agent, **self.validated(serializers.NewVersion))
            return Response(serializers.AgentVersionSerializer(version).data, status=201)

        return self.once(request, act)

    @extend_schema(request=serializers.Duplication, responses={201: serializers.AgentSerializer})
    @action(detail=True, methods=["post"])
    def duplicate(self, request: Request, **_: str) -> Response:
        """Make another agent with the same draft, and no versions."""
        agent = self.get_object()

        def act() -> Response:
            body = self.validated(serializers.Duplication)
            return self._answer(commands.duplicate(actor=self.actor, agent=agent, **body), status=201)

        return self.once(request, act)

    @extend_schema(request=serializers.HandOver, responses=serializers.AgentSerializer)
    @action(detail=True, methods=["post"], url_path="hand-over")
    def hand_over(self, request: Request, **_: str) -> Response:
        """Make another member the owner of the agent."""
        agent = self.get_object()

        def act() -> Response:
            owner = self._member(self.validated(serializers.HandOver)["owner"])
            return self._answer(commands.hand_over(actor=self.actor, agent=agent, owner=owner))

        return self.once(request, act)

    @extend_schema(parameters=[_FROM, _TO], responses=serializers.DifferenceSerializer, filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def diff(self, request: Request, **_: str) -> Response:
        """What differs between two versions, or a version and the draft."""
        agent: Agent = self.get_object()
        if "from" not in request.query_params and agent.latest_number is None:
            raise NotFound(f"{agent} has no version yet, so there is nothing to compare the draft with.")
        old = side(agent, request.query_params.get("from", str(agent.latest_number)))
        new = side(agent, request.query_params.get("to", DRAFT))
        changes = []
        for change in compare(old.definition, new.definition):
            lines = [
                {**asdict(line), "segments": [{"text": text, "changed": changed} for text, changed in line.segments]}
                for line in change.lines
            ]
            changes.append({**asdict(change), "lines": lines})
        return Response({"old": old.key, "new": new.key, "changes": changes})

    def _member(self, email: str) -> User:
        """The member that a body names.

        Raises:
            Invalid: there is none such that the actor may see.
        """
        member: User | None = ports.visible(User.objects.all(), self.actor, "user.view").filter(email=email).first()
        if member is None:
            raise Invalid(fields={"owner": [f"There is no member “{email}”, or you may not see it."]})
        return member

    def _answer(self, agent: Agent, *, status: int = 200) -> Response:
        """The agent as it is now, with what the list query reads besides the row."""
        return self.answer(self.queryset.get(pk=agent.pk), status=status)


class AgentVersionViewSet(ResourceViewSet[AgentVersion]):
    """The versions of an agent, newest first. They can be read and restored into the draft, never changed."""

    queryset = AgentVersion.objects.select_related("agent")
    serializer_class = serializers.AgentVersionSerializer
    lookup_field = "number"
    lookup_value_regex = r"[1-9]\d{0,8}"
    ordering = "-number"

    def get_queryset(self) -> QuerySet[AgentVersion]:
        versions = super().get_queryset()
        if getattr(self, "swagger_fake_view", False):
            return versions
        versions = versions.filter(agent=self._agent())
        return versions.defer("content") if self.action == "list" else versions

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        if self.action == "list":
            return serializers.AgentVersionSummarySerializer
        return serializers.AgentVersionSerializer

    @extend_schema(request=serializers.VersionRestoration, responses=serializers.AgentSerializer)
    @action(detail=True, methods=["post"])
    def restore(self, request: Request, **_: str) -> Response:
        """Take the version's definition as the draft. Nothing is published by it."""
        version = self.get_object()

        def act() -> Response:
            body = self.validated(serializers.VersionRestoration)
            agent = commands.restore_version(actor=self.actor, agent=version.agent, number=version.number, **body)
            shown = Agent.objects.with_latest_version().get(pk=agent.pk)
            return Response(serializers.AgentSerializer(shown).data)

        return self.once(request, act)

    def _agent(self) -> Agent:
        """The agent of the address.

        Raises:
            NotFound: it does not exist, or the actor may not see it.
        """
        seen = ports.visible(Agent.objects.all(), self.actor, "agent.view")
        agent: Agent | None = seen.filter(slug=self.kwargs["agent_slug"]).first()
        if agent is None:
            raise NotFound("There is no such agent, or you may not see it.")
        return agent
