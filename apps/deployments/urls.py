"""Addresses of the pages about what runs where."""

from django.urls import path

from apps.deployments import views
from apps.deployments.stops.urls import urlpatterns as stops

app_name = "deployments"

urlpatterns = [
    *stops,
    path("deployments/", views.Matrix.as_view(), name="matrix"),
    path("deployments/all/", views.DeploymentList.as_view(), name="list"),
    path("deployments/<uuid:pk>/", views.DeploymentDetail.as_view(), name="detail"),
    path("deployments/<uuid:pk>/rollback/", views.DeploymentRollback.as_view(), name="rollback"),
    path("deployments/<uuid:pk>/cancel/", views.DeploymentCancel.as_view(), name="cancel"),
    path("deployments/<uuid:pk>/undeploy/", views.DeploymentUndeploy.as_view(), name="undeploy"),
    path("deployments/<uuid:pk>/release-hold/", views.DeploymentReleaseHold.as_view(), name="release-hold"),
    path("deployments/<uuid:pk>/retry/", views.DeploymentRetry.as_view(), name="retry"),
    path("deployments/<uuid:pk>/approve/", views.RolloutApprove.as_view(), name="approve"),
    path("deployments/<uuid:pk>/force/", views.RolloutForce.as_view(), name="force"),
    path("deployments/<uuid:pk>/pause/", views.RolloutPause.as_view(), name="pause"),
    path("deployments/<uuid:pk>/resume/", views.RolloutResume.as_view(), name="resume"),
    path("deployments/<uuid:pk>/plan/", views.DeploymentPlan.as_view(), name="plan"),
    path("deployments/<uuid:deployment>/rollouts/<int:generation>/", views.RolloutDetail.as_view(), name="rollout"),
    path("environments/<slug:slug>/rollout-policy/", views.RolloutPolicyEdit.as_view(), name="rollout-policy"),
    path("deployments/<uuid:pk>/playground/", views.DeploymentPlayground.as_view(), name="playground"),
    path("agents/<slug:slug>/deploy/", views.AgentDeploy.as_view(), name="deploy"),
    path("agents/<slug:slug>/deploy/<slug:environment>/", views.AgentDeploy.as_view(), name="deploy-to"),
]
