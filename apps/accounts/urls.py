"""Pages of members, profile and tokens."""

from django.urls import path

from apps.accounts import views

app_name = "accounts"
urlpatterns = [
    path("members/", views.MemberList.as_view(), name="members"),
    path("members/add/", views.MemberAdd.as_view(), name="add"),
    path("members/<uuid:pk>/role/", views.MemberChangeRole.as_view(), name="change-role"),
    path("members/<uuid:pk>/deactivate/", views.MemberDeactivate.as_view(), name="deactivate"),
    path("members/<uuid:pk>/reactivate/", views.MemberReactivate.as_view(), name="reactivate"),
    path("profile/", views.Profile.as_view(), name="profile"),
    path("profile/tokens/", views.TokenList.as_view(), name="tokens"),
    path("profile/tokens/new/", views.TokenCreate.as_view(), name="new-token"),
    path("profile/tokens/<uuid:pk>/revoke/", views.TokenRevoke.as_view(), name="revoke-token"),
]
