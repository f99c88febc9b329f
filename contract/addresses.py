"""Which IP addresses a server must not connect to on somebody else's word. Both planes ask the same rule.

Whoever can make a server connect somewhere could otherwise reach what only that server can: itself, its neighbours, and
the metadata service of a cloud, which hands out credentials.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def why_forbidden(address: IPAddress, allowed: Iterable[IPNetwork]) -> str:
    """What is wrong with an address, as "a private address", or "" if it may be connected to.

    Args:
        address: where to; an IPv6 address that stands for an IPv4 one is judged as that.
        allowed: networks that the operator has opened, whatever they are.
    """
    embedded = _embedded(address)
    if embedded is not None:
        return why_forbidden(embedded, allowed)
    if any(address.version == network.version and address in network for network in allowed):
        return ""
    kinds: Iterable[tuple[bool, str]] = (
        (address.is_unspecified, "the unspecified address"),
        (address.is_loopback, "a loopback address"),
        (address.is_link_local, "a link-local address"),
        (address.is_multicast, "a multicast address"),
        (address.is_private, "a private address"),
        (not address.is_global, "a reserved address"),
    )
    return next((text for holds, text in kinds if holds), "")


def _embedded(address: IPAddress) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for: mapped, 6to4 or NAT64."""
    if not isinstance(address, ipaddress.IPv6Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour
