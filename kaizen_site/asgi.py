"""The ASGI application: HTTP through Django, WebSockets through channels, both by host."""

import os

# The web process runs requests in many threads and shares a pool of connections among them.
os.environ.setdefault("KAIZEN_DATABASE_POOL", "1")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kaizen_site.settings")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings

from apps.accounts.sockets import SocketGate
from apps.core.body_limit import BodyLimit, bound_what_daphne_buffers
from kaizen_site.routing import websocket_urlpatterns

bound_what_daphne_buffers(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
application = ProtocolTypeRouter(
    {
        "http": BodyLimit(django_application, limit=settings.DATA_UPLOAD_MAX_MEMORY_SIZE),
        "websocket": SocketGate(URLRouter(websocket_urlpatterns)),
    }
)
