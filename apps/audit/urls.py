"""Pages of the log."""

from django.urls import path

from apps.audit import views

app_name = "audit"
urlpatterns = [
    path("audit/", views.EventList.as_view(), name="events"),
    path("audit/verify/", views.ChainVerification.as_view(), name="verify"),
    path("audit/<int:sequence>/", views.EventDetail.as_view(), name="event"),
]
