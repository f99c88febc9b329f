"""URLs of an organization's host."""

from django.urls import include, path
from django.views.generic import RedirectView

from apps.core.health import healthz

urlpatterns = [
    path("healthz", healthz),
    # An address is vouched for by whoever added the member; allauth's page to change it would be a way around that.
    path("accounts/email/", RedirectView.as_view(pattern_name="accounts:profile"), name="account_email"),
    path("accounts/", include("allauth.urls")),
    path("", include("apps.accounts.urls")),
    path("", include("apps.audit.urls")),
    path("", include("apps.gateways.urls")),
    path("", include("apps.telemetry.urls")),
    path("", include("apps.agents.urls")),
    path("", include("apps.deployments.urls")),
    path("", include("apps.home.urls")),
    path("api/v1/", include("kaizen_site.urls_api")),
]

handler400 = "apps.core.error_views.bad_request"
handler403 = "apps.core.error_views.permission_denied"
handler404 = "apps.core.error_views.page_not_found"
handler500 = "apps.core.error_views.server_error"
