"""The networks that a webhook may lead to."""

from python_api.http.addresses import Network, is_in, parse_address, parse_networks

# IPv4's lie in the first (LIMIT-20).
PUBLIC = parse_networks(["::ffff:0:0/96", "2000::/3"])
# IANA's special-purpose registries (RFC 6890), without what is globally reachable all the same.
SPECIAL = parse_networks(
    [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
    ]
)


def may_call(text: str, allowed: tuple[Network, ...], *, is_secure: bool) -> bool:
    """Whether an endpoint may be called at this address, with TLS or without.

    `allowed` are the networks that are allowed although they aren't public.

    Clauses: HOOK-22.
    """
    address = parse_address(text)
    if address is None:
        return False
    is_public = is_in(address, PUBLIC) and not is_in(address, SPECIAL)
    return is_in(address, allowed) or (is_secure and is_public)
