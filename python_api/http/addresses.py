"""Addresses and networks: where a request comes from, and in which networks an address lies."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
# IPv4's lie in ::ffff:0:0/96 (LIMIT-20).
Network = IPv6Network
MAPPED = "::ffff:"
MAPPED_LENGTH = 96

# Without what Python also reads: zones of IPv6, netmasks.
ADDRESS = re.compile("[0-9A-Fa-f.:]+")
NETWORK = re.compile("[0-9A-Fa-f.:]+(?:/[0-9]{1,3})?")


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """The networks that these are, `10.0.0.0/8` or a single address. Raises ValueError.

    Clauses: LIMIT-20.
    """
    networks = []
    for text in texts:
        if not NETWORK.fullmatch(text):
            raise ValueError(text)
        address, _, length = text.partition("/")
        bits = int(length or 128)
        if isinstance(ip_address(address), IPv4Address):
            address, bits = MAPPED + address, MAPPED_LENGTH + int(length or 32)
        networks.append(IPv6Network(f"{address}/{bits}", strict=False))
    return tuple(networks)


# Python takes some fifty microseconds to judge an address, Node a few.
@lru_cache(maxsize=256)
def client_address(peer: str, forwarded: str, trusted: tuple[Network, ...]) -> str:
    """The address that a request comes from, in canonical form.

    That is the one at the other end of the connection, unless it is a trusted proxy's: then it is
    the last one in `forwarded`, its `X-Forwarded-For`, that isn't.

    Clauses: LIMIT-07, LIMIT-08.
    """
    address = parse_address(peer)
    hops = [hop.strip(" \t") for hop in forwarded.split(",")]
    while address and hops and is_in(address, trusted):
        before = parse_address(hops.pop())
        if before is None:
            break
        address = before
    return str(address or peer)


def is_in(address: Address, networks: Sequence[Network]) -> bool:
    """Whether the address is in one of these networks. Clauses: LIMIT-20."""
    mapped = IPv6Address(f"{MAPPED}{address}") if isinstance(address, IPv4Address) else address
    return any(mapped in network for network in networks)


def parse_address(text: str) -> Address | None:
    """The address, if it is one; of an IPv4 address in IPv6 (`::ffff:7f00:1`) that one."""
    try:
        address = ip_address(text) if ADDRESS.fullmatch(text) else None
    except ValueError:
        return None
    # A socket that takes both families shows an IPv4 address as an IPv6 one.
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address
