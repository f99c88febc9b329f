"""The faulty network does what it says: above all, whether the gateway heard a request that failed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tests.chaos.proxy import CALM, Fault, FaultyProxy, Network, Weather
from tests.harness.gateway import wait_until


@dataclass
class Upstream:
    """A server that notes what it heard."""

    port: int = 0
    heard: list[bytes] = field(default_factory=list)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    noted = Upstream()

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            noted.heard.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"done")

        def log_message(self, *_: object) -> None:
            """Nothing to standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    noted.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield noted
    server.shutdown()
    server.server_close()


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    yield network
    network.close()


def _put(proxy: FaultyProxy, content: bytes = b"wish", *, timeout: float = 10.0) -> httpx.Response:
    return httpx.put(f"{proxy.address}/thing", content=content, timeout=timeout)


def _always(fault: Fault) -> Weather:
    return Weather(rate=1.0, faults=(fault,), hang_s=(0.5, 0.5), slow_s=(0.05, 0.05))


def test_in_calm_weather_everything_passes_over_one_connection(upstream: Upstream, network: Network) -> None:
    proxy = network.proxy(upstream.port, "seed", CALM)
    with httpx.Client(base_url=proxy.address) as client:
        assert [client.put("/thing", content=f"{number}").text for number in range(3)] == ["done"] * 3
    assert upstream.heard == [b"0", b"1", b"2"]
    assert network.met() == {"passed": 3}


@pytest.mark.parametrize(("fault", "heard"), [(Fault.RESET_BEFORE, []), (Fault.RESET_AFTER, [b"wish"])])
def test_a_reset_loses_the_request_or_the_answer(
    fault: Fault, heard: list[bytes], upstream: Upstream, network: Network
) -> None:
    proxy = network.proxy(upstream.port, "seed", _always(fault))
    with pytest.raises(httpx.TransportError):
        _put(proxy)
    assert upstream.heard == heard


def test_an_unavailable_way_answers_for_itself(upstream: Upstream, network: Network) -> None:
    assert _put(network.proxy(upstream.port, "seed", _always(Fault.UNAVAILABLE))).status_code == 503
    assert upstream.heard == []


def test_a_slow_answer_arrives(upstream: Upstream, network: Network) -> None:
    assert _put(network.proxy(upstream.port, "seed", _always(Fault.SLOW))).text == "done"


def test_a_hanging_request_is_never_heard(upstream: Upstream, network: Network) -> None:
    with pytest.raises(httpx.TransportError):
        _put(network.proxy(upstream.port, "seed", _always(Fault.HANG)))
    assert upstream.heard == []


def test_a_late_request_is_heard_when_nobody_waits_for_it_any_more(upstream: Upstream, network: Network) -> None:
    with pytest.raises(httpx.TimeoutException):
        _put(network.proxy(upstream.port, "seed", _always(Fault.LATE)), timeout=0.1)
    wait_until(lambda: upstream.heard == [b"wish"])


def test_a_gateway_that_is_cut_off_or_silent_hears_nothing(upstream: Upstream, network: Network) -> None:
    proxy = network.proxy(upstream.port, "seed", CALM)
    proxy.cut = True
    with pytest.raises(httpx.TransportError):
        _put(proxy)
    proxy.cut, proxy.silent = False, True
    with pytest.raises(httpx.TimeoutException):
        _put(proxy, timeout=0.2)
    assert upstream.heard == []


def test_studio_hears_at_once_that_a_gateway_died(network: Network) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = network.proxy(server.getsockname()[1], "seed", CALM)
        with socket.create_connection(("127.0.0.1", proxy.port)) as studio:
            studio.sendall(b"GET / HTTP/1.1\r\n\r\n")
            gateway, _ = server.accept()
            gateway.recv(1000)
            gateway.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            assert studio.recv(1000).startswith(b"HTTP/1.1 200")
            gateway.close()
            studio.settimeout(10)
            with pytest.raises(ConnectionResetError):
                studio.recv(1)


def test_the_same_seed_meets_the_same_faults(upstream: Upstream, network: Network) -> None:
    def fates(seed: str) -> list[str]:
        proxy = network.proxy(upstream.port, seed, Weather(rate=0.5, faults=(Fault.UNAVAILABLE, Fault.RESET_AFTER)))
        met = []
        for _ in range(20):
            try:
                met.append(str(_put(proxy).status_code))
            except httpx.TransportError:
                met.append("reset")
        return met

    assert fates("one") == fates("one") != fates("two")
    assert set(fates("one")) == {"200", "503", "reset"}
