"""Where the tools of agents may reach, as the gateway's operator has decided."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contract.addresses import IPNetwork

EVERY_HOST = "*"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")


class ForbiddenDestination(Exception):
    """The gateway does not connect there. The message says why, without anything that came from there."""


@dataclass(frozen=True)
class Origin:
    """Scheme, host and port of a request: what credentials belong to."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """Where a URL leads.

        Raises:
            ForbiddenDestination: it is no plain http or https URL.
        """
        # Read by the library that will connect: two parsers that understand a URL differently are a way past the list.
        from yarl import URL

        try:
            parsed = URL(url)
            host, port = parsed.raw_host or "", parsed.port
        except ValueError:
            raise ForbiddenDestination("that is no URL") from None
        if parsed.scheme not in _DEFAULT_PORTS:
            raise ForbiddenDestination("only http and https are spoken")
        if parsed.user is not None or parsed.password is not None:
            raise ForbiddenDestination("a URL must hold no user name or password")
        return cls(parsed.scheme, plain_host(host), port or _DEFAULT_PORTS[parsed.scheme])

    @property
    def has_default_port(self) -> bool:
        """Whether the port is the scheme's own."""
        return self.port == _DEFAULT_PORTS[self.scheme]


@dataclass(frozen=True)
class HostPattern:
    """An entry of the allowlist: a name, a name with its subdomains (``*.``), an address, or every host (``*``).

    Attributes:
        port: the port that it opens; None stands for 80 with http and 443 with https.
    """

    host: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> HostPattern:
        """Read ``host``, ``host:port``, ``*.domain`` or ``*``.

        Raises:
            ValueError: it is none of these.
        """
        host, port = text.strip(), ""
        if not host.endswith("]") and (host.count(":") == 1 or "]:" in host):
            host, _, port = host.rpartition(":")
        if port and not (port.isascii() and port.isdecimal() and 0 < int(port) < 65_536):
            raise ValueError(f"{text!r} has no port from 1 to 65535")
        number = int(port) if port else None
        if host == EVERY_HOST:
            return cls(host, number)
        wildcard = "*." if host.startswith("*.") else ""
        try:
            return cls(wildcard + plain_host(host.removeprefix("*.").strip("[]")), number)
        except ForbiddenDestination:
            raise ValueError(f"{text!r} is no host name") from None

    def covers(self, origin: Origin) -> bool:
        """Whether it allows a destination."""
        if not (origin.has_default_port if self.port is None else origin.port == self.port):
            return False
        if self.host == EVERY_HOST:
            return True
        return origin.host.endswith(self.host[1:]) if self.host.startswith("*.") else origin.host == self.host


@dataclass(frozen=True)
class OutgoingRules:
    """What the operator of a gateway allows.

    Attributes:
        hosts: destinations that tools may name; none by default.
        networks: networks that may be connected to although they are private, loopback or link-local.
    """

    hosts: tuple[HostPattern, ...] = ()
    networks: tuple[IPNetwork, ...] = ()

    def check(self, origin: Origin) -> None:
        """Refuse a destination that is on no allowlist. Which addresses it has is looked at when connecting.

        Raises:
            ForbiddenDestination: with the reason.
        """
        if not any(pattern.covers(origin) for pattern in self.hosts):
            raise ForbiddenDestination(f"the gateway's operator does not allow tools to reach {origin.host}")


def plain_host(host: str) -> str:
    """A host in its one spelling.

    Numbers that stand for an IPv4 address in other ways than as four decimals (``2130706433``, ``0x7f.1``, ``127.1``)
    are refused: the C library would understand them, and an allowlist would not.

    Raises:
        ForbiddenDestination: it is neither an address nor a name.
    """
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        name = host.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError:
        name = ""
    last = name.rpartition(".")[2]
    if len(name) > 253 or not _NAME.fullmatch(name) or last.isdecimal() or last.startswith("0x"):
        raise ForbiddenDestination("that is no host name")
    return name
