"""One request to an outside identity provider, for its one document."""

import asyncio
import re
import ssl
from pathlib import Path

import httptools

TIMEOUT_SECONDS = 5
MAX_HEAD = 16384
MAX_DOCUMENT = 1048576
# Such a head's bytes at most, four to one that counts in a field like `A:`, and one read more.
MAX_UNPARSED = 131072
# The only value that a field may have, if it is there.
ENCODINGS = {b"transfer-encoding": b"chunked", b"content-encoding": b"identity"}
ACCEPTED = "application/jwk-set+json, application/json"
# Of TLS 1.2 what RFC 9325, 4.2 recommends, and the like with ChaCha20: left to itself, each runtime
# takes some more. Those of TLS 1.3 are for Node, which would not speak it without them.
SUITES = ":".join(
    [
        *("TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"),
        *("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
        *("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
        *("ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"),
    ]
)
# The parts of `AUTH_JWKS_URL` as `settings` lets it be; a fragment is nobody else's business.
URL = re.compile(r"https?://((\[[^\]]+\]|[^:/]+)(?::([0-9]+))?)(/[^#]*)?")


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class ProviderError(Exception):
    """The document can't be had; the message says why."""


def tls_context(certificates: str) -> ssl.SSLContext:
    """What verifies a server: by these certificates (PEM), or by those that the system has.

    Clauses: AUTH-33, AUTH-36, HOOK-24.
    """
    # Not `create_default_context`: the environment has a say in that one.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers(SUITES)
    if certificates:
        context.load_verify_locations(cadata=certificates)
        return context
    paths = ssl.get_default_verify_paths()
    if Path(paths.openssl_cafile).exists():
        context.load_verify_locations(paths.openssl_cafile)
    if Path(paths.openssl_capath).exists():
        context.load_verify_locations(capath=paths.openssl_capath)
    return context


async def fetch_document(url: str, context: ssl.SSLContext | None) -> bytes:
    """The body that a GET is answered with. Raises ProviderError.

    No client of HTTP is among the service's libraries, and the standard library's has a time for
    each of its steps, but none for all.

    Clauses: AUTH-31, AUTH-32.
    """
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await _fetch(url, context)
    except TimeoutError:
        raise ProviderError(f"not there within {TIMEOUT_SECONDS} seconds") from None
    except (OSError, ValueError, httptools.HttpParserUpgrade) as error:
        raise ProviderError(error) from error


async def _fetch(url: str, context: ssl.SSLContext | None) -> bytes:
    match = URL.match(url)
    assert match
    authority, host, port, target = match.groups()
    connecting = asyncio.ensure_future(
        asyncio.open_connection(
            host.strip("[]"), int(port or (443 if context else 80)), ssl=context
        )
    )
    try:
        reader, writer = await asyncio.shield(connecting)
    except asyncio.CancelledError:
        # Were it cancelled, the error of a name that is still looked up would be told on stderr.
        connecting.add_done_callback(_abort)
        raise
    try:
        fields = (
            f"Host: {authority}",
            f"Accept: {ACCEPTED}",
            "User-Agent: users",
            "Connection: close",
        )
        writer.write("\r\n".join([f"GET {target or '/'} HTTP/1.1", *fields, "", ""]).encode())
        answer = _Answer()
        while not answer.is_complete:
            answer.feed(await reader.read(65536))
        return bytes(answer.body)
    finally:
        writer.transport.abort()


def _abort(connecting: asyncio.Future[Streams]) -> None:
    """Close a connection that has come too late, and hear of the error where none has."""
    if not connecting.cancelled() and connecting.exception() is None:
        _, writer = connecting.result()
        writer.transport.abort()


class _Answer:
    """An answer, as far as it has come."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.is_complete = False
        self._parser = httptools.HttpResponseParser(self)
        self._fields: dict[bytes, bytes] = {}
        self._head_size = 0
        self._unparsed_size = 0
        self._has_begun = False
        self._ends_with_the_connection = False

    def feed(self, data: bytes) -> None:
        """Take what has come; no data is the connection's end. Raises ProviderError."""
        # RFC 9112, 6.3
        if not data:
            self.is_complete = self._has_begun and self._ends_with_the_connection
            if not self.is_complete:
                raise ProviderError("the connection ended too early")
            return
        # The parser keeps a field until it is whole, however long.
        self._unparsed_size += len(data)
        if self._unparsed_size > MAX_UNPARSED:
            raise ProviderError(f"more than {MAX_UNPARSED} bytes of a head")
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            # What stands behind the answer is none of it.
            if not self.is_complete:
                raise ProviderError(error.__context__ or error) from error

    # What httptools calls.

    def on_status(self, reason: bytes) -> None:
        """The reason, or some of it."""
        self._count(len(reason))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field, of a trailer too."""
        self._count(len(name) + len(value))
        name, value = name.lower(), value.strip(b" \t").lower()
        before = self._fields.get(name)
        self._fields[name] = value if before is None else before + b", " + value

    def on_headers_complete(self) -> None:
        """The head has come, or that of an answer before it (1xx)."""
        status = self._parser.get_status_code()
        fields, self._fields = self._fields, {}
        self._head_size = self._unparsed_size = 0
        if status < 200:
            return
        if status != 200:
            raise ProviderError(f"status {status}")
        for name, only in ENCODINGS.items():
            if fields.get(name, only) not in (only, b""):
                raise ProviderError(f"{name.decode()} {fields[name].decode('latin-1')}")
        self._has_begun = True
        self._ends_with_the_connection = fields.keys().isdisjoint(
            (b"content-length", b"transfer-encoding")
        )

    def on_body(self, data: bytes) -> None:
        """Some of the body, or of another answer's behind it."""
        self._unparsed_size = 0
        if self.is_complete:
            return
        self.body += data
        if len(self.body) > MAX_DOCUMENT:
            raise ProviderError(f"more than {MAX_DOCUMENT} bytes")

    def on_message_complete(self) -> None:
        """The end, of an answer before it too."""
        self.is_complete = self._has_begun

    def _count(self, size: int) -> None:
        self._head_size += size
        if self._head_size >= MAX_HEAD:
            raise ProviderError(f"a head of {MAX_HEAD} bytes or more")
