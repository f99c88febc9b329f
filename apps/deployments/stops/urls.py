"""Addresses of the pages about stops, within the namespace of deployments."""

from django.urls import path

from apps.deployments.stops import views

urlpatterns = [
    path("stops/", views.StopList.as_view(), name="stops"),
    path("stops/new/", views.NewStop.as_view(), name="new-stop"),
    path("stops/<slug:public_id>/", views.StopDetail.as_view(), name="stop"),
    path("stops/<slug:public_id>/lift/", views.StopLift.as_view(), name="lift-stop"),
    path("stops/<slug:public_id>/retry/", views.StopRetry.as_view(), name="retry-stop"),
    path("stops/<slug:public_id>/receipts/", views.StopReceipts.as_view(), name="stop-receipts"),
    path("agents/<slug:slug>/stop/", views.AgentStop.as_view(), name="stop-agent"),
    path("agents/<slug:slug>/stop/<slug:environment>/", views.AgentStop.as_view(), name="stop-agent-in"),
    path("members/<uuid:pk>/stop/", views.AuthorStop.as_view(), name="stop-author"),
    path("agents/<slug:agent__slug>/versions/<int:number>/stop/", views.ReleaseStop.as_view(), name="stop-release"),
]
