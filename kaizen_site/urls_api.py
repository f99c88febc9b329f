"""The API of an organization, version 1. Each app lists its resources in its own `api.py`."""

from __future__ import annotations

from django.urls import path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.routers import SimpleRouter

from apps.accounts.api import MemberViewSet, TokenViewSet
from apps.agents.api import AgentVersionViewSet, AgentViewSet
from apps.audit.api import EventViewSet
from apps.deployments.api import DeploymentViewSet, ReleaseViewSet, RolloutPolicyViewSet, RolloutViewSet
from apps.deployments.stops.api import StopViewSet
from apps.gateways.api import EnvironmentViewSet, GatewayViewSet, KeyViewSet, PlacementViewSet
from apps.home.api import OverviewView
from apps.telemetry.api import ExecutionMetrics, ExecutionViewSet, ModelPriceViewSet

router = SimpleRouter(trailing_slash=True)
router.register("agents", AgentViewSet, basename="agent")
router.register(r"agents/(?P<agent_slug>[a-z0-9-]+)/versions", AgentVersionViewSet, basename="agent-version")
router.register("deployments", DeploymentViewSet, basename="deployment")
router.register("caller-keys", KeyViewSet, basename="caller-key")
router.register("environments", EnvironmentViewSet, basename="environment")
router.register("events", EventViewSet, basename="event")
router.register("executions", ExecutionViewSet, basename="execution")
router.register("gateways", GatewayViewSet, basename="gateway")
router.register("members", MemberViewSet, basename="member")
router.register("model-prices", ModelPriceViewSet, basename="model-price")
router.register("releases", ReleaseViewSet, basename="release")
router.register("rollout-policies", RolloutPolicyViewSet, basename="rollout-policy")
router.register("rollouts", RolloutViewSet, basename="rollout")
router.register("placements", PlacementViewSet, basename="placement")
router.register("stops", StopViewSet, basename="stop")
router.register("tokens", TokenViewSet, basename="token")

urlpatterns = [
    path("openapi.json", SpectacularAPIView.as_view(), name="api-schema"),
    path("docs/", SpectacularSwaggerSplitView.as_view(url_name="api-schema"), name="api-docs"),
    path("overview/", OverviewView.as_view(), name="overview"),
    path("metrics/executions/", ExecutionMetrics.as_view(), name="metrics-executions"),
    *router.urls,
]
