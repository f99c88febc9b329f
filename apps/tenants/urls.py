"""Pages of the public site."""

from django.urls import path

from apps.tenants import views

app_name = "public"
urlpatterns = [
    path("", views.landing, name="landing"),
    path("go/", views.go, name="go"),
    path("mailbox/", views.mailbox, name="mailbox"),
    path("mailbox/<int:pk>/", views.message, name="message"),
]
