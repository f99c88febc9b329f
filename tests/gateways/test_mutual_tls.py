"""Studio towards a gateway that demands a certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from apps.gateways.client import GatewayClient, GatewayUnreachable, tls_towards_gateways
from tests.gateways.conftest import NO_MODEL
from tests.harness.certificates import Authority
from tests.harness.gateway import GatewayProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The organization's own."""
    return Authority.create(tmp_path / "authority")


@pytest.fixture
def configured(settings: Any) -> Iterator[Callable[..., None]]:
    """Configure Studio's side."""

    def configure(ca: Path | str = "", certificate: Path | str = "", key: Path | str = "") -> None:
        settings.KAIZEN_GATEWAY_CA = str(ca)
        settings.KAIZEN_GATEWAY_CLIENT_CERT = str(certificate)
        settings.KAIZEN_GATEWAY_CLIENT_KEY = str(key)
        tls_towards_gateways.cache_clear()

    yield configure
    tls_towards_gateways.cache_clear()


@pytest.fixture
def guarded(tmp_path: Path, authority: Authority) -> Iterator[GatewayProcess]:
    """A gateway whose admin address demands a certificate; its callers' address is as usual."""
    server = authority.issue("gateway")
    extra = {
        "GATEWAY_ADMIN_ADDRESS": f"127.0.0.1:{free_port()}",
        "GATEWAY_ADMIN_TLS_CERT": str(server.certificate),
        "GATEWAY_ADMIN_TLS_KEY": str(server.key),
        "GATEWAY_ADMIN_TLS_CLIENT_CA": str(authority.file),
    }
    process = GatewayProcess(tmp_path / "gateway", NO_MODEL, extra=extra).start()
    yield process
    process.kill()


def test_with_a_certificate_it_is_served(
    guarded: GatewayProcess, authority: Authority, configured: Callable[..., None]
) -> None:
    mine = authority.issue("studio")
    configured(authority.file, mine.certificate, mine.key)
    assert GatewayClient(guarded.admin_address, guarded.token).state().registrations == 0


def test_without_one_it_is_told_what_is_missing(
    guarded: GatewayProcess, authority: Authority, configured: Callable[..., None]
) -> None:
    configured(authority.file)
    with pytest.raises(GatewayUnreachable) as refusal:
        GatewayClient(f"{guarded.admin_address}/", guarded.token).state()
    assert refusal.value.reason == "connection-lost"
    assert "demands a client's certificate" in refusal.value.message


def test_a_gateway_of_an_unknown_authority_is_not_trusted(
    guarded: GatewayProcess, authority: Authority, configured: Callable[..., None], tmp_path: Path
) -> None:
    mine = authority.issue("studio")
    configured(Authority.create(tmp_path / "other").file, mine.certificate, mine.key)
    with pytest.raises(GatewayUnreachable) as refusal:
        GatewayClient(f"{guarded.admin_address}//", guarded.token).state()
    assert refusal.value.reason == "tls-failed"


def test_files_that_do_not_belong_together_are_named(authority: Authority, configured: Callable[..., None]) -> None:
    configured(authority.file, authority.issue("one").certificate, authority.issue("two").key)
    with pytest.raises(ImproperlyConfigured, match="KAIZEN_GATEWAY_CLIENT_CERT"):
        tls_towards_gateways()
