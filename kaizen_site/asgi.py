"""The ASGI application: HTTP through Django, WebSockets through channels, both by host."""

import os

# The web process runs requests in many threads and shares a pool of connections among them.
os.environ.setdefault("KAIZEN_DATABASE_POOL", "1")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kaizen_site.settings")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from channels.routing import ProtocolTypeRouter, URLRouter

from apps.accounts.sockets import SocketGate
from kaizen_site.routing import websocket_urlpatterns

application = ProtocolTypeRouter(
    {"http": django_application, "websocket": SocketGate(URLRouter(websocket_urlpatterns))}
)
