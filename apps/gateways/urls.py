"""URLs of the pages of environments, gateways and caller keys."""

from django.urls import path

from apps.gateways import views

app_name = "gateways"
urlpatterns = [
    path("environments/", views.EnvironmentList.as_view(), name="environments"),
    path("environments/new/", views.EnvironmentCreate.as_view(), name="create-environment"),
    path("environments/<slug:slug>/", views.EnvironmentDetail.as_view(), name="environment"),
    path("environments/<slug:slug>/edit/", views.EnvironmentEdit.as_view(), name="edit-environment"),
    path("gateways/", views.GatewayList.as_view(), name="gateways"),
    path("gateways/register/new/", views.GatewayRegister.as_view(), name="register"),
    path("gateways/<slug:name>/", views.GatewayDetail.as_view(), name="gateway"),
    path("gateways/<slug:name>/edit/", views.GatewayEdit.as_view(), name="edit-gateway"),
    path("gateways/<slug:name>/retry/", views.GatewayRetry.as_view(), name="retry"),
    path("gateways/<slug:name>/accept-identity/", views.GatewayAcceptIdentity.as_view(), name="accept-identity"),
    path("gateways/<slug:name>/remove/", views.GatewayRemove.as_view(), name="remove"),
    path("gateways/<slug:name>/forget/", views.GatewayForget.as_view(), name="forget"),
    path("caller-keys/", views.KeyList.as_view(), name="caller-keys"),
    path("caller-keys/new/", views.KeyCreate.as_view(), name="create-key"),
    path("caller-keys/<uuid:pk>/", views.KeyDetail.as_view(), name="caller-key"),
    path("caller-keys/<uuid:pk>/limits/", views.KeyLimit.as_view(), name="limit-key"),
    path("caller-keys/<uuid:pk>/revoke/", views.KeyRevoke.as_view(), name="revoke-key"),
]
