"""API of deployments, releases and rollouts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.response import Response

from apps.agents.models import Agent, AgentVersion
from apps.core.api import ResourceViewSet
from apps.core.errors import Conflict, Invalid
from apps.core.ports import ports
from apps.deployments import commands, rollout_serializers, serializers
from apps.deployments.filters import DeploymentApiFilter, ReleaseApiFilter, RolloutApiFilter
from apps.deployments.models import Deployment, Release, Rollout, RolloutPolicy
from apps.deployments.queries import earlier_releases, statuses, with_adjective
from apps.gateways.api import named_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.models import QuerySet
    from rest_framework.request import Request

    from apps.core.serializers import StrictSerializer

_ROLLOUT_NAMES = (
    "deployment__agent",
    "deployment__environment",
    "from_release__agent_version",
    "to_release__agent_version",
)


class DeploymentViewSet(ResourceViewSet[Deployment]):
    """What should run where, how far that is true, and every change of it."""

    queryset = Deployment.objects.with_names()
    serializer_class = serializers.DeploymentSerializer
    filterset_class = DeploymentApiFilter
    lookup_value_regex = "[0-9a-f-]{36}"
    ordering = "-created_at"
    ordering_fields = ("registration", "created_at", "updated_at")

    def get_queryset(self) -> QuerySet[Deployment]:
        return with_adjective(super().get_queryset())  # type: ignore[arg-type]  # a DeploymentQuerySet, by `queryset`

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Deployments with their status, and where each gateway stands."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self._shown(page or []))

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """One deployment."""
        return Response(self._shown([self.get_object()])[0])

    @extend_schema(
        request=rollout_serializers.PlannedDeployment, responses={201: rollout_serializers.RolloutDetailSerializer}
    )
    def create(self, request: Request) -> Response:
        """Deploy a version of an agent to every gateway of an environment, as a plan says or else its policy."""

        def act() -> Response:
            body = self.validated(rollout_serializers.PlannedDeployment)
            version = self._version(body.pop("agent"), body.pop("version", None))
            environment = named_environment(self.actor, body.pop("environment"))
            rollout = commands.deploy(actor=self.actor, environment=environment, version=version, **body)
            return _rollout(rollout, status=201)

        return self.once(request, act)

    @extend_schema(request=serializers.RollbackBody, responses={201: rollout_serializers.RolloutDetailSerializer})
    @action(detail=True, methods=["post"])
    def rollback(self, request: Request, **_: str) -> Response:
        """Go back to a release that ran there, and hold it: automation leaves it alone until the hold is released."""
        deployment = self.get_object()

        def act() -> Response:
            body = self.validated(serializers.RollbackBody)
            to = _earlier(deployment, body.pop("to", None))
            return _rollout(commands.rollback(actor=self.actor, deployment=deployment, to=to, **body), status=201)

        return self.once(request, act)

    @extend_schema(request=serializers.NoteBody, responses={201: rollout_serializers.RolloutDetailSerializer})
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, **_: str) -> Response:
        """Take back the rollout that is under way: to what ran before it, or to nothing if it was the first."""
        return self._changed(request, commands.cancel)

    @extend_schema(request=serializers.NoteBody, responses={201: rollout_serializers.RolloutDetailSerializer})
    @action(detail=True, methods=["post"])
    def undeploy(self, request: Request, **_: str) -> Response:
        """Take the agent off every gateway of the environment."""
        return self._changed(request, commands.undeploy)

    @extend_schema(request=None, responses=serializers.DeploymentSerializer)
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, **_: str) -> Response:
        """Try the gateways that have not confirmed again now."""
        return self._same(request, commands.retry)

    @extend_schema(request=None, responses=serializers.DeploymentSerializer)
    @action(detail=True, methods=["post"], url_path="release-hold")
    def release_hold(self, request: Request, **_: str) -> Response:
        """Let automation change the deployment again. What runs stays as it is."""
        return self._same(request, commands.release_hold)

    @extend_schema(request=serializers.StepBody, responses=rollout_serializers.RolloutDetailSerializer)
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, **_: str) -> Response:
        """Let the rollout under way go on after a step that waits for a person."""
        return self._steered(request, commands.approve, body=serializers.StepBody)

    @extend_schema(request=serializers.StepBody, responses=rollout_serializers.RolloutDetailSerializer)
    @action(detail=True, methods=["post"])
    def force(self, request: Request, **_: str) -> Response:
        """Let the rollout under way go on now, without the soak, executions or gateways that it waits for."""
        return self._steered(request, commands.force, body=serializers.StepBody)

    @extend_schema(request=serializers.NoteBody, responses=rollout_serializers.RolloutDetailSerializer)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, **_: str) -> Response:
        """Let the rollout under way take no further step."""
        return self._steered(request, commands.pause, body=serializers.NoteBody)

    @extend_schema(request=None, responses=rollout_serializers.RolloutDetailSerializer)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, **_: str) -> Response:
        """Let a paused rollout go on; its step is judged by what happens from now on."""
        return self._steered(request, commands.resume)

    @extend_schema(request=rollout_serializers.DeploymentPlanBody, responses=serializers.DeploymentSerializer)
    @action(detail=True, methods=["post"])
    def plan(self, request: Request, **_: str) -> Response:
        """Say how later changes of this deployment reach the gateways; null: as its environment does it."""
        return self._same(request, commands.set_plan, body=rollout_serializers.DeploymentPlanBody)

    def _steered(
        self, request: Request, command: Callable[..., Rollout], body: type[StrictSerializer] | None = None
    ) -> Response:
        """A change to the rollout that is under way."""
        deployment = self.get_object()

        def act() -> Response:
            values = self.validated(body) if body is not None else {}
            return _rollout(command(actor=self.actor, deployment=deployment, **values), status=200)

        return self.once(request, act)

    def _changed(self, request: Request, command: Callable[..., Rollout]) -> Response:
        """A change that begins a rollout and takes nothing but a note."""
        deployment = self.get_object()

        def act() -> Response:
            body = self.validated(serializers.NoteBody)
            return _rollout(command(actor=self.actor, deployment=deployment, **body), status=201)

        return self.once(request, act)

    def _same(
        self, request: Request, command: Callable[..., Deployment], body: type[StrictSerializer] | None = None
    ) -> Response:
        """A change that begins no rollout."""
        deployment = self.get_object()

        def act() -> Response:
            values = self.validated(body) if body is not None else {}
            command(actor=self.actor, deployment=deployment, **values)
            return Response(self._shown([self.get_object()])[0])

        return self.once(request, act)

    def _shown(self, deployments: Sequence[Deployment]) -> Any:
        context = {**self.get_serializer_context(), "statuses": statuses(deployments)}
        return serializers.DeploymentSerializer(deployments, many=True, context=context).data

    def _version(self, slug: str, number: int | None) -> AgentVersion:
        """The version that a body names.

        Raises:
            Invalid: there is none such that the actor may see.
        """
        agent = ports.visible(Agent.objects.all(), self.actor, "agent.view").filter(slug=slug).first()
        if agent is None:
            raise Invalid(fields={"agent": [f"There is no agent “{slug}”, or you may not see it."]})
        versions = agent.versions.select_related("agent").order_by("-number")
        version: AgentVersion | None = (versions if number is None else versions.filter(number=number)).first()
        if version is None:
            wanted = "no version yet; publish one" if number is None else f"no version {number}"
            raise Invalid(fields={"version": [f"{agent} has {wanted}."]})
        return version


class ReleaseViewSet(ResourceViewSet[Release]):
    """What gateways get: immutable, named by its digest."""

    queryset = Release.objects.select_related("agent_version__agent")
    serializer_class = serializers.ReleaseSerializer
    filterset_class = ReleaseApiFilter
    lookup_value_regex = "[0-9a-f-]{36}"

    def get_queryset(self) -> QuerySet[Release]:
        queryset = super().get_queryset()
        return queryset.defer("body") if self.action == "list" else queryset

    def get_serializer_class(self) -> Any:
        return serializers.ReleaseSummarySerializer if self.action == "list" else serializers.ReleaseSerializer


class RolloutViewSet(ResourceViewSet[Rollout]):
    """Every change of every deployment, newest first."""

    queryset = Rollout.objects.select_related(*_ROLLOUT_NAMES)
    serializer_class = serializers.RolloutSerializer
    filterset_class = RolloutApiFilter
    lookup_value_regex = "[0-9a-f-]{36}"

    def get_serializer_class(self) -> Any:
        return serializers.RolloutSerializer if self.action == "list" else rollout_serializers.RolloutDetailSerializer


class RolloutPolicyViewSet(ResourceViewSet[RolloutPolicy]):
    """How changes reach the gateways of each environment; all at once where none is set."""

    queryset = RolloutPolicy.objects.select_related("environment")
    serializer_class = rollout_serializers.RolloutPolicySerializer
    lookup_field = "environment__slug"
    lookup_url_kwarg = "environment"
    lookup_value_regex = "[a-z0-9]+"
    ordering = ("environment__order",)

    @extend_schema(request=rollout_serializers.PolicyBody, responses=rollout_serializers.RolloutPolicySerializer)
    def create(self, request: Request) -> Response:
        """Set the policy of an environment, in place of the one that it had."""

        def act() -> Response:
            body = self.validated(rollout_serializers.PolicyBody)
            environment = named_environment(self.actor, body["environment"])
            policy = commands.set_rollout_policy(actor=self.actor, environment=environment, plan=body["plan"])
            return self.answer(policy)

        return self.once(request, act)


def _rollout(rollout: Rollout, *, status: int) -> Response:
    shown = Rollout.objects.select_related(*_ROLLOUT_NAMES).get(pk=rollout.pk)
    return Response(rollout_serializers.RolloutDetailSerializer(shown).data, status=status)


def _earlier(deployment: Deployment, to: Any) -> Release:
    """The release to go back to; without a choice, the latest that ran there before the present one.

    Raises:
        Conflict: none other ran there.
        Invalid: there is no such release.
    """
    if to is not None:
        release = Release.objects.filter(pk=to).select_related("agent_version__agent").first()
        if release is None:
            raise Invalid(fields={"to": ["There is no such release."]})
        return release
    earlier = earlier_releases(deployment)
    if not earlier:
        raise Conflict(f"No other release ran in {deployment.environment.slug}.")
    return earlier[0]
