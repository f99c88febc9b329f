"""WebSocket paths of an organization's host."""

from django.urls import path

from apps.core.consumers import LiveConsumer

websocket_urlpatterns = [
    path("ws/live/<str:name>/<str:id>/", LiveConsumer.as_asgi()),
]
