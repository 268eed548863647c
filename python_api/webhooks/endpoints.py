"""Endpoints: where a webhook leads, and one request to there."""

import asyncio
import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address

import httptools

from python_api.auth.provider import tls_context
from python_api.http.addresses import parse_address
from python_api.settings import Settings
from python_api.users.schemas import LABEL
from python_api.webhooks.networks import may_call

# RFC 3986 without user and fragment; how the host looks inside, `_is_host` tells.
URL_PARTS = re.compile(
    r"(https?)://((?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+))(?::([1-9][0-9]{0,4}))?)"
    r"(/[!$-;=?-\[\]_a-z~]*)?"
)
DOTTED = re.compile(r"[0-9]+(?:\.[0-9]+){3}")
NAME = re.compile(rf"(?:{LABEL}\.)*(?=[A-Za-z]){LABEL}")
MAX_NAME = 253
# One at a time: libuv has two at most, and those of the database and the provider need one, too.
LOOKUPS = 1
MAX_PORT = 65535
SWITCHING_PROTOCOLS = 101
MAX_HEAD = 16384
# Such a head's bytes at most, four to one that counts in a field like `A:`, and one read more.
MAX_UNPARSED = 131072


class AttemptError(Exception):
    """An attempt has failed; the message is its outcome, as clients see it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The parts of a webhook's URL."""

    is_secure: bool
    host: str
    """A name or an address."""
    port: int
    authority: str
    """As `Host` has it."""
    target: str


def parse_url(url: str) -> Endpoint | None:
    """The endpoint that the URL leads to, if it has the required form. Clauses: HOOK-04."""
    match = URL_PARTS.fullmatch(url)
    if match is None:
        return None
    scheme, authority, ipv6, other, port, target = match.groups()
    if not _is_host(ipv6, other) or int(port or 0) > MAX_PORT:
        return None
    is_secure = scheme == "https"
    number = int(port or (443 if is_secure else 80))
    return Endpoint(is_secure, ipv6 or other, number, authority, target or "/")


def _is_host(ipv6: str | None, other: str) -> bool:
    try:
        if ipv6:
            IPv6Address(ipv6)
        elif DOTTED.fullmatch(other):
            IPv4Address(other)
        else:
            return len(other) <= MAX_NAME and NAME.fullmatch(other) is not None
    except ValueError:
        return False
    return True


class Client:
    """A client of endpoints, which looks up where they are."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._turns = asyncio.Semaphore(LOOKUPS)
        self._lookups: dict[str, asyncio.Future[Sequence[str]]] = {}

    @cached_property
    def _context(self) -> ssl.SSLContext:
        context = tls_context(self._settings.webhooks_ca)
        # Only its alternative names say whom a certificate is for (RFC 9525, 6.3).
        context.hostname_checks_common_name = False
        return context

    async def find_address(self, endpoint: Endpoint) -> str:
        """Where to call the endpoint. Raises AttemptError.

        Clauses: HOOK-13, HOOK-22, HOOK-23.
        """
        addresses: Sequence[str] = [endpoint.host]
        if parse_address(endpoint.host) is None:
            addresses = await self._look_up(endpoint.host)
        networks = self._settings.webhooks_networks
        allowed = [
            address
            for address in addresses
            if may_call(address, networks, is_secure=endpoint.is_secure)
        ]
        if not allowed:
            raise AttemptError("forbidden-address")
        return min(allowed, key=lambda address: isinstance(parse_address(address), IPv6Address))

    async def _look_up(self, name: str) -> Sequence[str]:
        """The addresses of a name. Raises AttemptError.

        Nothing ends a lookup that has begun: it keeps its turn until it is over, and whoever asks
        for the same name meanwhile hears of it, too.
        """
        looking = self._lookups.get(name)
        if looking is None:
            looking = self._lookups[name] = asyncio.ensure_future(self._ask(name))
            looking.add_done_callback(lambda _: self._lookups.pop(name))
        addresses = await asyncio.shield(looking)
        if not addresses:
            raise AttemptError("unreachable")
        return addresses

    async def _ask(self, name: str) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        async with self._turns:
            # The latter for what can't be a name.
            with suppress(OSError, UnicodeError):
                found = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
                return [str(place[0]) for *_, place in found]
        return []

    async def post(
        self, endpoint: Endpoint, address: str, fields: Mapping[str, str], body: str
    ) -> int:
        """Post this to the endpoint at this address; gives the status. Raises AttemptError.

        Nothing else than the address is connected to, and no more than the answer's head is read.
        Libraries that are clients of HTTP would look the name up themselves, and judge answers in
        another way than Node does.

        Clauses: HOOK-10, HOOK-13, HOOK-23, HOOK-24, HOOK-28.
        """
        lines = [f"{name}: {value}" for name, value in fields.items()]
        head = [f"POST {endpoint.target} HTTP/1.1", f"Host: {endpoint.authority}", *lines, "", ""]
        try:
            reader, writer = await asyncio.open_connection(
                address,
                endpoint.port,
                ssl=self._context if endpoint.is_secure else None,
                server_hostname=endpoint.host if endpoint.is_secure else None,
            )
            try:
                writer.write(("\r\n".join(head) + body).encode())
                answer = _Head()
                while answer.status is None:
                    answer.feed(await reader.read(65536))
                return answer.status
            finally:
                writer.transport.abort()
        except (OSError, ValueError):
            raise AttemptError("unreachable") from None


class _Head:
    """The head of an answer, as far as it has come."""

    def __init__(self) -> None:
        self.status: int | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._size = 0
        self._unparsed_size = 0

    def feed(self, data: bytes) -> None:
        """Take what has come; no data is the connection's end. Raises AttemptError.

        Clauses: HOOK-28.
        """
        # The parser keeps a field until it is whole, however long.
        self._unparsed_size += len(data)
        if not data or self._unparsed_size > MAX_UNPARSED:
            raise AttemptError("unreachable")
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError:
            # What stands behind the head is none of it.
            if self.status is None:
                raise AttemptError("unreachable") from None

    # What httptools calls.

    def on_status(self, reason: bytes) -> None:
        """The reason, or some of it."""
        self._count(len(reason))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field."""
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """The head has come, or that of an answer before it (1xx); none behind it counts."""
        self._size = self._unparsed_size = 0
        status = self._parser.get_status_code()
        if status < 100:
            raise AttemptError("unreachable")
        if self.status is None and (status >= 200 or status == SWITCHING_PROTOCOLS):
            self.status = status

    def _count(self, size: int) -> None:
        self._size += size
        if self._size >= MAX_HEAD and self.status is None:
            raise AttemptError("unreachable")
