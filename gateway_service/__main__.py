"""Start a gateway with ``python -m gateway_service``; README.md, beside this file, lists the variables it reads."""

from __future__ import annotations

import logging
import sqlite3
import sys
from typing import TYPE_CHECKING

from gateway_service.gateway import Gateway, restrict_files
from gateway_service.identity import IdentityError
from gateway_service.logs import configure_logging
from gateway_service.serving import Service
from gateway_service.settings import Settings, SettingsError

if TYPE_CHECKING:
    import socket

    from gateway_service.listeners import Address

EXIT_CONFIGURATION = 78
"""EX_CONFIG of sysexits.h: restarting will not help."""

_log = logging.getLogger("gateway_service")


class StartError(Exception):
    """The gateway cannot start here."""


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    restrict_files()
    try:
        settings = Settings.from_environment()
        configure_logging(settings.log_level)
        callers = _listen("GATEWAY_ADDRESS", settings.address)
        admin = None if settings.admin is None else _listen("GATEWAY_ADMIN_ADDRESS", settings.admin)
        gateway = _open(settings)
    except SettingsError as error:
        print("The gateway cannot start:", *error.problems, sep="\n  ", file=sys.stderr)  # noqa: T201
        return EXIT_CONFIGURATION
    except StartError as error:
        print(f"The gateway cannot start: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_CONFIGURATION
    Service(gateway, callers, admin).run()
    _log.info("stopped")
    return 0


def _listen(variable: str, address: Address) -> socket.socket:
    try:
        return address.listen()
    except OSError as error:
        raise StartError(f"{variable} {address.host}:{address.port} cannot be used: {error.strerror}") from None


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


if __name__ == "__main__":
    sys.exit(main())
