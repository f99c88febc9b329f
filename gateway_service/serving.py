"""The gateway's listeners, from their first connection to the last answer."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import uvicorn

from gateway_service import VERSION
from gateway_service.app import Surfaces
from gateway_service.connections import Bounds, bounded

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Iterator

    from starlette.types import ASGIApp

    from gateway_service.gateway import Gateway
    from gateway_service.listeners import Tls

# Longer than Studio, or a load balancer as usually set, keeps an idle connection: whoever sends should be the one that
# closes, or a request may meet a connection that is just being closed.
_KEEP_ALIVE_S = 75

_ADMIN_CONNECTIONS = 256
"""Studio needs few, and callers cannot use them up."""

_ADMIN_DRAIN_S = 5

_log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """uvicorn without its signals: it would raise them once more at the end, which supervisors read as a crash."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Service:
    """Serves a gateway on its sockets."""

    def __init__(self, gateway: Gateway, callers: socket.socket, admin: socket.socket | None) -> None:
        self._gateway = gateway
        self._sockets = (callers, admin)
        self._surfaces = Surfaces(gateway)
        settings = gateway.settings
        self._callers = self._server(
            "caller", self._surfaces.callers, settings.address.tls, settings.max_connections, settings.drain_s
        )
        self._admin: _Server | None = None
        if settings.admin is not None and self._surfaces.admin is not None:
            self._admin = self._server(
                "admin", self._surfaces.admin, settings.admin.tls, _ADMIN_CONNECTIONS, _ADMIN_DRAIN_S
            )

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Blocks."""
        with asyncio.Runner(loop_factory=self._callers.config.get_loop_factory()) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, partial(self._stop, number))
        callers, admin = self._sockets
        async with self._surfaces.open(), asyncio.TaskGroup() as group:
            self._announce()
            if self._admin is not None and admin is not None:
                group.create_task(self._admin.serve(sockets=[admin]))
            await self._callers.serve(sockets=[callers])
            # Studio can watch until the last execution has ended.
            if self._admin is not None:
                self._admin.should_exit = True

    def _stop(self, number: int) -> None:
        """Refuse new executions at once and let running ones end; a second Ctrl-C does not wait for them."""
        gateway, server = self._gateway, self._callers
        _log.info("stopping; running executions have %d s", gateway.settings.drain_s)
        gateway.engine.draining = True
        server.force_exit = server.should_exit and number == signal.SIGINT
        server.should_exit = True

    def _announce(self) -> None:
        gateway, settings = self._gateway, self._gateway.settings
        _log.info("gateway %s %s listens on %s", gateway.identity.gateway_id, VERSION, settings.address)
        if settings.admin is not None:
            _log.info("its admin API listens on %s", settings.admin)

    def _server(self, surface: str, application: ASGIApp, tls: Tls | None, connections: int, drain_s: int) -> _Server:
        settings, metrics = self._gateway.settings, self._gateway.metrics
        bounds = Bounds(
            read_s=settings.request_read_s,
            stall_s=settings.reader_stall_s,
            connections=connections,
            refused=lambda error: metrics.refuse(surface, error.code),
        )
        config = uvicorn.Config(
            application,
            http=bounded(bounds),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            # A proxy may claim what it likes: nothing here depends on a caller's address.
            proxy_headers=False,
            lifespan="off",
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=drain_s,
            ssl_context_factory=None if tls is None else _context_of(tls),
        )
        return _Server(config)


def _context_of(tls: Tls) -> Callable[..., ssl.SSLContext]:
    return lambda *_: tls.context()
