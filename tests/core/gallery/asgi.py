"""The gallery as a server: Studio's HTTP side and gate, with a scripted agent at the far end of the playground."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any

import django

django.setup()

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.urls import path  # noqa: E402

from apps.accounts.sockets import SocketGate  # noqa: E402
from apps.core.consumers import TenantConsumer  # noqa: E402
from kaizen_site.routing import websocket_urlpatterns  # noqa: E402

# A socket may come before the first page, and its fragment must be registered by then.
import_module("tests.core.gallery.views")
SLOWLY_S = 0.05


class ScriptedAgent(TenantConsumer):
    """Answers word by word what it is told; `fail` breaks off, `forever` goes on until it is stopped."""

    _answering: asyncio.Task[None] | None = None

    async def opened(self) -> None:
        await self.send_json({"type": "waiting", "reason": "The agent is being deployed."})
        await asyncio.sleep(SLOWLY_S)
        await self.send_json({"type": "ready"})

    async def receive_json(self, content: Any, **_: Any) -> None:
        if content["type"] == "stop" and self._answering is not None:
            self._answering.cancel()
            await self._done()
        if content["type"] == "message":
            self._answering = asyncio.create_task(self._answer(content["text"]))

    async def disconnect(self, code: int) -> None:
        if self._answering is not None:
            self._answering.cancel()

    async def _answer(self, text: str) -> None:
        if text == "fail":
            await self.send_json({"type": "error", "message": "The model did not answer.", "code": "model_failed"})
            return
        words = ["<b>You", "said:</b>", text] if text != "forever" else ["on"] * 2_000
        for word in words:
            await self.send_json({"type": "token", "text": f"{word} "})
            await asyncio.sleep(SLOWLY_S)
        await self._done()

    async def _done(self) -> None:
        usage = {"input_tokens": 12, "output_tokens": 3}
        await self.send_json({"type": "done", "usage": usage, "execution_id": "exe_1", "duration_ms": 1234})


application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": SocketGate(
            URLRouter([path("ws/playground/<str:id>/", ScriptedAgent.as_asgi()), *websocket_urlpatterns])
        ),
    }
)
