"""URLs of the bare host: the public site and the operators' admin."""

from django.contrib import admin
from django.urls import include, path

from apps.core.health import healthz

urlpatterns = [
    path("healthz", healthz),
    path("admin/", admin.site.urls),
    path("", include("apps.tenants.urls")),
]
