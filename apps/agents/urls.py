"""Addresses of the agents' pages."""

from django.urls import path

from apps.agents import views

app_name = "agents"
urlpatterns = [
    path("agents/", views.AgentList.as_view(), name="list"),
    path("agents/new/", views.AgentCreate.as_view(), name="create"),
    path("agents/<slug:slug>/", views.AgentDetail.as_view(), name="detail"),
    path("agents/<slug:slug>/edit/", views.AgentEdit.as_view(), name="edit"),
    path("agents/<slug:slug>/publish/", views.AgentPublish.as_view(), name="publish"),
    path("agents/<slug:slug>/duplicate/", views.AgentDuplicate.as_view(), name="duplicate"),
    path("agents/<slug:slug>/hand-over/", views.AgentHandOver.as_view(), name="hand-over"),
    path("agents/<slug:slug>/delete/", views.AgentDelete.as_view(), name="delete"),
    path("agents/<slug:slug>/restore/", views.AgentRestore.as_view(), name="restore"),
    path("agents/<slug:agent__slug>/versions/<int:number>/", views.VersionDetail.as_view(), name="version"),
    path(
        "agents/<slug:agent__slug>/versions/<int:number>/compare/",
        views.VersionCompare.as_view(),
        name="compare-version",
    ),
    path(
        "agents/<slug:agent__slug>/versions/<int:number>/restore/",
        views.VersionRestore.as_view(),
        name="restore-version",
    ),
]
