"""The client that an address counts for: IPv4 by address, IPv6 by its /64."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Final

IPV6_PREFIX_BITS: Final = 64  # one subscriber's prefix, with 2^64 addresses to choose from
REMEMBERED_COUNT_MAX: Final = 4_096


@lru_cache(REMEMBERED_COUNT_MAX)
def block_of(host: str) -> str:
    """`2001:db8::/64` of `2001:db8::7`; an IPv4 address, or anything else, is returned unchanged.
    An IPv4-mapped IPv6 address is the IPv4 address.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, IPV6_PREFIX_BITS), strict=False))
