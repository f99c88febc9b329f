"""The guard of outgoing connections: what may be typed as an address, and where it may lead."""

from __future__ import annotations

import asyncio
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import httpx
import pytest

from apps.core import outgoing
from apps.core.errors import Invalid
from apps.core.outgoing import guarded_async_client, guarded_client, parse_origin, why_forbidden

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT, LIMITS = httpx.Timeout(2.0), httpx.Limits(max_connections=2)


@pytest.fixture
def no_exceptions(settings: object) -> None:
    """An installation that allows no private network at all."""
    settings.KAIZEN_ALLOWED_GATEWAY_NETWORKS = []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://gateway.example.com", "https://gateway.example.com:443"),
        ("http://gateway.example.com:8080/", "http://gateway.example.com:8080"),
        (" HTTPS://Gateway.Example.COM:8443 ", "https://gateway.example.com:8443"),
        ("http://[2606:4700::1]:8080", "http://[2606:4700::1]:8080"),
        ("http://bücher.example", "http://xn--bcher-kva.example:80"),
        ("http://localhost:81", "http://localhost:81"),
    ],
)
def test_an_address_has_one_spelling(text: str, origin: str) -> None:
    assert str(parse_origin(text)) == origin


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Start the address"),
        ("gateway.example.com:80", "Start the address"),
        ("ftp://gateway.example.com", "Start the address"),
        ("http://", "names no host"),
        ("http://:8080", "names no host"),
        ("http://gateway.example.com:0", "from 1 to 65535"),
        ("http://gateway.example.com:99999", "no address"),
        ("http://user:secret@gateway.example.com", "no user name or password"),
        ("http://gateway.example.com/admin", "Leave out everything after the port"),
        ("http://gateway.example.com?x=1", "Leave out everything after the port"),
        ("http://gateway.example.com\r\nHost: evil", "a space or a control character"),
        ("http://-bad-.example.com", "no host name"),
        ("http://2130706433", "no host name"),
        ("http://0x7f.1", "no host name"),
        ("http://127.1", "no host name"),
        ("http://" + "a" * 400, "longer than 300"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        parse_origin(text)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "64:ff9b::7f00:1", "2001:db8::1",
    ],
)  # fmt: skip
def test_every_special_range_is_forbidden_in_each_of_its_spellings(address: str, no_exceptions: None) -> None:
    assert why_forbidden(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_allowed(address: str, no_exceptions: None) -> None:
    assert why_forbidden(ip_address(address)) == ""


def test_an_installation_may_allow_a_network_of_its_own(settings: object) -> None:
    settings.KAIZEN_ALLOWED_GATEWAY_NETWORKS = [ip_network("10.20.0.0/16")]  # type: ignore[attr-defined]
    assert why_forbidden(ip_address("10.20.3.4")) == ""
    assert why_forbidden(ip_address("::ffff:10.20.3.4")) == ""
    assert why_forbidden(ip_address("10.21.3.4"))


class _Echo(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "/")
            self.end_headers()
            return
        body = self.headers["Host"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[int]:
    """A server on the loopback that answers with the Host it was asked for; its port."""
    listener = HTTPServer(("127.0.0.1", 0), _Echo)
    thread = threading.Thread(target=listener.serve_forever)
    thread.start()
    yield listener.server_port
    listener.shutdown()
    thread.join()
    listener.server_close()


def test_names_under_localhost_reach_the_loopback_under_their_own_name(server: int) -> None:
    with guarded_client(timeout=TIMEOUT, limits=LIMITS) as client:
        answer = client.get(f"http://acme.localhost:{server}/")
    assert answer.text == f"acme.localhost:{server}"


def test_a_redirect_is_not_followed(server: int) -> None:
    with guarded_client(timeout=TIMEOUT, limits=LIMITS) as client:
        assert client.get(f"http://127.0.0.1:{server}/away").status_code == 302


def test_a_proxy_of_the_environment_is_not_used(server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with guarded_client(timeout=TIMEOUT, limits=LIMITS) as client:
        assert client.get(f"http://127.0.0.1:{server}/").status_code == 200


def test_a_forbidden_address_is_not_connected_to(server: int, no_exceptions: None) -> None:
    with guarded_client(timeout=TIMEOUT, limits=LIMITS) as client, pytest.raises(httpx.ConnectError, match="loopback"):
        client.get(f"http://127.0.0.1:{server}/")

    async def ask() -> None:
        async with guarded_async_client(timeout=TIMEOUT, limits=LIMITS) as client:
            await client.get(f"http://127.0.0.1:{server}/")

    with pytest.raises(httpx.ConnectError, match="loopback"):
        asyncio.run(ask())


def test_a_name_that_resolves_differently_a_moment_later_gains_nothing(
    server: int, no_exceptions: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: public when the address was registered, the inside when Studio connects.

    The resolver is the one thing replaced here: it stands for a DNS server that an attacker controls.
    """
    answers = iter(["8.8.8.8", "127.0.0.1", "127.0.0.1"])

    def resolve(_host: str, port: int, **_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    origin = parse_origin(f"http://rebinding.example:{server}")
    outgoing.check_origin(origin)
    with guarded_client(timeout=TIMEOUT, limits=LIMITS) as client, pytest.raises(httpx.ConnectError, match="loopback"):
        client.get(str(origin))


def test_one_forbidden_address_among_several_is_enough(no_exceptions: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(_host: str, port: int, **_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(Invalid, match=r"resolves to 10\.0\.0\.1, which is a private address"):
        outgoing.check_origin(parse_origin("http://two-faced.example"))


def test_a_name_that_does_not_resolve_says_so() -> None:
    with pytest.raises(Invalid, match="does not resolve"):
        outgoing.check_origin(parse_origin("http://does-not-exist.invalid"))
