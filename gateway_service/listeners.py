"""Where a gateway listens: its addresses, and the certificates it shows and demands there."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_BACKLOG = 2_048


@dataclass(frozen=True)
class Tls:
    """TLS of one listener.

    Attributes:
        certificate: the server's certificate with its chain, in PEM.
        key: its private key, in PEM and not encrypted.
        client_ca: whoever connects must show a certificate that one of these has issued; None asks for none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def context(self) -> ssl.SSLContext:
        """What connections are wrapped in: TLS 1.2 or newer.

        Raises:
            OSError: a file cannot be read, or is none of this kind (`ssl.SSLError`).
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key)
        if self.client_ca is not None:
            context.load_verify_locations(self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@dataclass(frozen=True)
class Address:
    """Where to listen, and how."""

    host: str
    port: int
    tls: Tls | None = None

    def __str__(self) -> str:
        """As a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    def listen(self) -> socket.socket:
        """A socket on which connections queue up from now on.

        Raises:
            OSError: the address is taken, or is none of this machine's.
        """
        listener = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self.host, self.port))
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
        return listener
