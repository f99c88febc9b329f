"""Start a gateway with ``python -m gateway_service``; README.md, beside this file, lists the variables it reads."""

from __future__ import annotations

import logging
import signal
import socket
import sqlite3
import sys
from typing import TYPE_CHECKING

import uvicorn

from gateway_service import VERSION
from gateway_service.app import create_app
from gateway_service.gateway import Gateway, restrict_files
from gateway_service.identity import IdentityError
from gateway_service.logs import configure_logging
from gateway_service.settings import Settings, SettingsError

if TYPE_CHECKING:
    from types import FrameType

EXIT_CONFIGURATION = 78
"""EX_CONFIG of sysexits.h: restarting will not help."""

_BACKLOG = 2_048
# Longer than Studio, or a load balancer as usually set, keeps an idle connection: whoever sends should be the one that
# closes, or a request may meet a connection that is just being closed.
_KEEP_ALIVE_S = 75

_log = logging.getLogger("gateway_service")


class StartError(Exception):
    """The gateway cannot start here."""


class _Server(uvicorn.Server):
    """uvicorn, which refuses new executions as soon as it is told to stop, and ends with status 0.

    uvicorn itself would raise the signal once more at the end, which a supervisor reads as a crash.
    """

    def __init__(self, config: uvicorn.Config, gateway: Gateway) -> None:
        super().__init__(config)
        self._gateway = gateway

    def handle_exit(self, sig: int, _: FrameType | None) -> None:
        """Stop; a second Ctrl-C does not wait for running executions."""
        _log.info("stopping; running executions have %d s", self._gateway.settings.drain_s)
        self._gateway.engine.draining = True
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    restrict_files()
    try:
        settings = Settings.from_environment()
        configure_logging(settings.log_level)
        listener = _listen(settings)
        gateway = _open(settings)
    except SettingsError as error:
        print("The gateway cannot start:", *error.problems, sep="\n  ", file=sys.stderr)  # noqa: T201
        return EXIT_CONFIGURATION
    except StartError as error:
        print(f"The gateway cannot start: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_CONFIGURATION
    _serve(gateway, listener)
    return 0


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise StartError(f"GATEWAY_ADDRESS {settings.host}:{settings.port} cannot be used: {error.strerror}") from None
    return listener


def _open(settings: Settings) -> Gateway:
    try:
        return Gateway(settings)
    except (IdentityError, OSError) as error:
        raise StartError(f"GATEWAY_DATA_DIR {settings.data_dir} cannot be used: {error}") from None
    except sqlite3.Error as error:
        raise StartError(
            f"a database in GATEWAY_DATA_DIR {settings.data_dir} cannot be used: {error}. Restore it, or remove "
            "the *.sqlite files (not identity.json): Studio will place everything again."
        ) from None


def _serve(gateway: Gateway, listener: socket.socket) -> None:
    config = uvicorn.Config(
        create_app(gateway),
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=gateway.settings.drain_s,
    )
    host, port = listener.getsockname()[:2]
    _log.info("gateway %s %s listens on http://%s:%d", gateway.identity.gateway_id, VERSION, host, port)
    _Server(config, gateway).run(sockets=[listener])
    _log.info("stopped")


if __name__ == "__main__":
    sys.exit(main())
