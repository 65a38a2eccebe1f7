"""Which network addresses an untrusted URL may lead to."""

from __future__ import annotations

import ipaddress
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_PRIVATE: Final = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "fc00::/7", "::1/128")
)
# Forms of IPv6 that carry an IPv4 address: translated (NAT64) to it, or tunnelled (6to4, Teredo).
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_TUNNELS: Final = (ipaddress.IPv6Network("2002::/16"), ipaddress.IPv6Network("2001::/32"))


def is_numeric(host: str) -> bool:
    """Whether a URL's host is an address itself, and so is never resolved."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def allowed(text: str, *, private: bool) -> bool:
    """Whether `text`, a numeric address, is public; or, where `private` is, of a private network or loopback.

    Link-local (with the clouds' metadata services), multicast, reserved and tunnelled addresses never are.
    """
    try:
        address: Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address in _NAT64:
            address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        elif any(address in network for network in _TUNNELS):
            return False
    if any(address.version == network.version and address in network for network in _PRIVATE):
        return private
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_link_local)
