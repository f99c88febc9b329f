"""The API of an organization, version 1. Each app lists its resources in its own `api.py`."""

from __future__ import annotations

from django.urls import path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.routers import SimpleRouter

from apps.accounts.api import MemberViewSet, TokenViewSet
from apps.audit.api import EventViewSet

router = SimpleRouter(trailing_slash=True)
router.register("events", EventViewSet, basename="event")
router.register("members", MemberViewSet, basename="member")
router.register("tokens", TokenViewSet, basename="token")

urlpatterns = [
    path("openapi.json", SpectacularAPIView.as_view(), name="api-schema"),
    path("docs/", SpectacularSwaggerSplitView.as_view(url_name="api-schema"), name="api-docs"),
    *router.urls,
]
