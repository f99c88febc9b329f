"""Ports: which ones an installation uses, which are taken, and which are free."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launcher.errors import LauncherError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Port:
    """A TCP port on the loopback interface, and the variable that moves it."""

    owner: str
    variable: str
    number: int

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.number}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def is_busy(self) -> bool:
        with socket.socket() as probe:
            # As every server does: a connection that lingers in TIME_WAIT does not make a port busy.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, self.number))
            except OSError:
                return True
            return False


@dataclass(frozen=True)
class Ports:
    """Where everything of one installation listens."""

    dashboard: Port
    database: Port
    redis: Port
    model: Port
    gateway_development: Port
    gateway_production: Port

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Ports":
        """Defaults, each moved by its variable.

        Raises:
            LauncherError: a variable holds no port number, or two name the same port.
        """

        def port(owner: str, variable: str, default: int) -> Port:
            return Port(owner, variable, _number(variable, environment.get(variable) or str(default)))

        ports = cls(
            dashboard=port("dashboard", "KAIZEN_PORT", 8000),
            database=port("database", "KAIZEN_DATABASE_PORT", 8432),
            redis=port("broker", "KAIZEN_REDIS_PORT", 8379),
            model=port("model", "KAIZEN_MODEL_PORT", 8434),
            gateway_development=port("gateway development", "KAIZEN_GATEWAY_DEVELOPMENT_PORT", 8101),
            gateway_production=port("gateway production", "KAIZEN_GATEWAY_PRODUCTION_PORT", 8102),
        )
        seen: dict[int, Port] = {}
        for each in vars(ports).values():
            if (other := seen.setdefault(each.number, each)) is not each:
                raise LauncherError(f"{other.variable} and {each.variable} are both {each.number}.")
        return ports


def _number(variable: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise LauncherError(f"{variable} must be a port number from 1 to 65535, not {text!r}.")
    return int(text)


def refuse_busy(ports: Sequence[Port]) -> None:
    """Raise `LauncherError` that names every port that something else listens on, and the variable to set instead."""
    busy = [port for port in ports if port.is_busy]
    if not busy:
        return
    lines = [f"  {port.owner}: port {port.number} is in use; set {port.variable} to a free one" for port in busy]
    example = " ".join(f"{port.variable}={free_port()}" for port in busy)
    raise LauncherError("\n".join(["Nothing was started:", *lines, f"For example: {example} make up"]))


def free_port() -> int:
    """A port that nothing listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        number: int = probe.getsockname()[1]
        return number
