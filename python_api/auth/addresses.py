"""Addresses: where a request comes from."""

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Without what Python also reads: zones of IPv6, netmasks.
ADDRESS = re.compile("[0-9A-Fa-f.:]+")
NETWORK = re.compile("[0-9A-Fa-f.:]+(?:/[0-9]{1,3})?")


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """The networks that these are, `10.0.0.0/8` or a single address. Raises ValueError."""
    networks = []
    for text in texts:
        if not NETWORK.fullmatch(text):
            raise ValueError(text)
        networks.append(ip_network(text, strict=False))
    return tuple(networks)


# LIMIT-07, LIMIT-08
def client_address(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """The address that a request comes from, in canonical form.

    That is the one at the other end of the connection, unless it is a trusted proxy's: then it is
    the last one in `X-Forwarded-For`, of which these are the lines, that isn't.
    """
    address = _address(peer)
    hops = [hop.strip(" \t") for line in forwarded for hop in line.split(",")]
    while address and hops and any(address in network for network in trusted):
        before = _address(hops.pop())
        if before is None:
            break
        address = before
    return str(address or peer)


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text) if ADDRESS.fullmatch(text) else None
    except ValueError:
        return None
    # A socket that takes both families shows an IPv4 address as an IPv6 one.
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address
