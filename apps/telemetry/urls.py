"""URLs of the pages about executions."""

from django.urls import path

from apps.telemetry import views

app_name = "telemetry"
urlpatterns = [
    path("executions/", views.ExecutionList.as_view(), name="executions"),
    path("executions/<uuid:pk>/", views.ExecutionDetail.as_view(), name="execution"),
    path("executions/activity/<str:subject>/", views.ActivityFragment.as_view(), name="activity"),
]
