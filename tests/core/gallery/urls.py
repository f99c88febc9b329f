"""URLs of the gallery, beside those that every organization has."""

from django.urls import include, path

from apps.core import navigation
from tests.core.gallery import views

navigation.entry("Members", icon="users", section="Govern", order=900, url="gallery:people")(views.PersonList)
navigation.entry("Components", icon="apps", order=901, url="gallery:components", shortcut="9")(views.Components)
navigation.entry("New token", icon="key", section="Account", order=902, url="gallery:token")(views.MakeToken)

gallery = [
    path("people/", views.PersonList.as_view(), name="people"),
    path("people/new/", views.Invite.as_view(), name="invite"),
    path("people/<uuid:pk>/", views.PersonDetail.as_view(), name="person"),
    path("people/<uuid:pk>/watch/", views.Watched.as_view(), name="watch"),
    path("people/<uuid:pk>/rename/", views.Rename.as_view(), name="rename"),
    path("people/<uuid:pk>/deactivate/", views.Deactivate.as_view(), name="deactivate"),
    path("people/<uuid:pk>/reactivate/", views.Reactivate.as_view(), name="reactivate"),
    path("tokens/new/", views.MakeToken.as_view(), name="token"),
    path("components/", views.Components.as_view(), name="components"),
    path("talk/", views.Talk.as_view(), name="talk"),
]
urlpatterns = [
    path("gallery/", include((gallery, "gallery"))),
    path("", include("kaizen_site.urls_tenant")),
]
