"""WebSocket paths of an organization's host."""

from django.urls import path, re_path

from apps.core.consumers import LiveConsumer, NoSuchSocket
from apps.deployments.consumers import PlaygroundConsumer

websocket_urlpatterns = [
    path("ws/live/<str:name>/<str:id>/", LiveConsumer.as_asgi()),
    path("ws/playground/<str:id>/", PlaygroundConsumer.as_asgi()),
    re_path("", NoSuchSocket.as_asgi()),
]
