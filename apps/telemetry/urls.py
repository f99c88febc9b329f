"""URLs of the pages about executions and prices."""

from django.urls import path

from apps.telemetry import views

app_name = "telemetry"
urlpatterns = [
    path("executions/", views.ExecutionList.as_view(), name="executions"),
    path("executions/<uuid:pk>/", views.ExecutionDetail.as_view(), name="execution"),
    path("executions/activity/<str:subject>/", views.ActivityFragment.as_view(), name="activity"),
    path("model-prices/", views.PriceList.as_view(), name="model-prices"),
    path("model-prices/new/set/", views.PriceSet.as_view(), name="set-price"),
    path("model-prices/<slug:profile>/change/", views.PriceChange.as_view(), name="change-price"),
    path("model-prices/<slug:profile>/remove/", views.PriceRemove.as_view(), name="remove-price"),
]
