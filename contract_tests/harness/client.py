"""One target of the suite: its name, its URLs, and requests to them."""

import contextlib
import copy
import json as json_text
import random
import secrets
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import httpx

from contract_tests.harness import expect
from contract_tests.harness.wire import Answer, Connection, listeners, message, tell

Headers = Mapping[str, str] | Iterable[tuple[str, str]]

# Shorter than any server's: a pooled connection is never one that the server is about to close.
POOL = httpx.Limits(max_connections=None, keepalive_expiry=2.0)
# A token is good for 15 minutes where nothing else is said.
_TOKEN_SECONDS = 300
_TIMEOUTS = dict.fromkeys(("connect", "read", "write", "pool"), 30.0)


class Client:
    """Asks one target; safe to use from several threads.

    A target may have several URLs, of services that are to act as one: each request, and each raw
    connection, goes to one of them at random.

    Requests go through one pool of connections and carry only `Host`, `Content-Length` (where
    there is a body or the method expects one) and what the test gives: this is httpx's transport,
    without its client, which would add fields of its own. The path is sent as written: no dot
    segment is resolved and nothing is encoded.

    Where the target is secured, the client logs in, and each request without an `Authorization`
    carries its token.

    As a proxy that the target trusts it says of each login, and of each creation without a token,
    that it comes from an address of its own: one address may not fail as often as the tests do.
    """

    def __init__(
        self,
        urls: str,
        name: str = "target",
        login: tuple[str, str] | None = None,
        *,
        as_proxy: bool = False,
    ) -> None:
        """A client of the services at `urls`: `http://host:port`, or several with commas.

        `login` is the email and the password of an admin, where a target is secured.
        """
        self.name = name
        self.login = login
        self._as_proxy = as_proxy
        self._fixed: str | None = None
        self._tells = True
        self._token = ("", 0.0)
        self._logging_in = threading.Lock()
        self.urls = [_origin(url) for url in urls.split(",")]
        self._http = httpx.HTTPTransport(trust_env=False, limits=POOL)
        self.begin("")

    @classmethod
    def of(cls, urls: list[str], name: str) -> Self:
        """A client of services that come and go: the list may change under way."""
        client = cls(",".join(urls), name)
        client.urls = urls
        return client

    def begin(self, seed: str) -> None:
        """Choose among the URLs from here on as the seed has it; `url` is the first choice."""
        self._random = random.Random(seed)
        self.url = self._any()
        self.host = urlsplit(self.url).netloc

    def _any(self) -> str:
        return self._random.choice(self.urls)

    @property
    def authorization(self) -> str:
        """The value of `Authorization` that goes with each request; empty for none."""
        if self._fixed is not None or self.login is None:
            return self._fixed or ""
        with self._logging_in:
            token, until = self._token
            if time.monotonic() > until:
                itself = self.asking("")
                itself._tells = False
                token = itself.token(*self.login)
                self._token = (token, time.monotonic() + _TOKEN_SECONDS)
        return f"Bearer {token}"

    def token(self, email: str, password: str) -> str:
        """A token for this user; AssertionError where there is none to be had."""
        answer = self.asking("").log_in(email, password)
        assert answer.status == 200, answer
        return str(answer.json()["access_token"])

    def log_in(self, email: str, password: str, *, headers: Headers | None = None) -> Answer:
        """What the token endpoint answers."""
        form = {"grant_type": "password", "username": email, "password": password}
        fields = [*(headers.items() if isinstance(headers, Mapping) else headers or ())]
        fields.append(("Content-Type", "application/x-www-form-urlencoded"))
        return self.post("/auth/token", content=urlencode(form).encode(), headers=fields)

    def asking(self, authorization: str) -> Self:
        """The same client with this `Authorization`; with an empty one it has none."""
        other = copy.copy(self)
        other._fixed = authorization
        return other

    def at(self, url: str) -> Self:
        """The same client for one of its URLs alone."""
        other = copy.copy(self)
        other.urls = [url]
        other.begin("")
        return other

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: bytes | None = None,
        headers: Headers | None = None,
    ) -> Answer:
        """Send one request; `json` as compact UTF-8 with its Content-Type, `content` as it is.

        A Content-Type in `headers` stands in place of the one that `json` brings. Of a stream, which
        has no end, the head alone is read.
        """
        pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
        fields = [(name.encode("ascii"), value.encode("latin-1")) for name, value in pairs]
        if (own := self.authorization) and b"authorization" not in [n.lower() for n, _ in fields]:
            fields.append((b"Authorization", own.encode("latin-1")))
        given = {name.lower() for name, _ in fields}
        forwarded = self._forwarded(method, path, anonymous=b"authorization" not in given)
        if forwarded and b"x-forwarded-for" not in given:
            fields.append((b"X-Forwarded-For", forwarded.encode()))
        if json is not None:
            content = json_text.dumps(json, ensure_ascii=False, separators=(",", ":")).encode()
            if b"content-type" not in [name.lower() for name, _ in fields]:
                fields.append((b"Content-Type", b"application/json"))
        extensions = {"target": path.encode("ascii"), "timeout": _TIMEOUTS}
        request = httpx.Request(
            method, self._any(), headers=fields, content=content, extensions=extensions
        )
        with contextlib.closing(self._http.handle_request(request)) as response:
            is_endless = response.headers.get("Content-Type") == "text/event-stream"
            body = b"" if is_endless else b"".join(response.iter_raw())
        received = [
            (name.decode("latin-1").lower(), value.decode("latin-1"))
            for name, value in response.headers.raw
        ]
        answer = Answer(response.status_code, received, body)
        if listeners and self._tells:
            sent = [(name.decode(), value.decode("latin-1")) for name, value in request.headers.raw]
            tell(self.name, message(method, path, sent, request.content), answer)
        return answer

    def get(self, path: str, *, headers: Headers | None = None) -> Answer:
        """GET."""
        return self.request("GET", path, headers=headers)

    def head(self, path: str, *, headers: Headers | None = None) -> Answer:
        """HEAD."""
        return self.request("HEAD", path, headers=headers)

    def options(self, path: str, *, headers: Headers | None = None) -> Answer:
        """OPTIONS."""
        return self.request("OPTIONS", path, headers=headers)

    def delete(self, path: str, *, headers: Headers | None = None) -> Answer:
        """DELETE."""
        return self.request("DELETE", path, headers=headers)

    def post(
        self,
        path: str,
        *,
        json: Any = None,
        content: bytes | None = None,
        headers: Headers | None = None,
    ) -> Answer:
        """POST."""
        return self.request("POST", path, json=json, content=content, headers=headers)

    def put(
        self,
        path: str,
        *,
        json: Any = None,
        content: bytes | None = None,
        headers: Headers | None = None,
    ) -> Answer:
        """PUT."""
        return self.request("PUT", path, json=json, content=content, headers=headers)

    def patch(
        self,
        path: str,
        *,
        json: Any = None,
        content: bytes | None = None,
        headers: Headers | None = None,
    ) -> Answer:
        """PATCH."""
        return self.request("PATCH", path, json=json, content=content, headers=headers)

    def create(self, **overrides: str) -> dict[str, Any]:
        """Create a user with a name and an email of its own, check the answer, return the user."""
        fields = {"name": f"Ada {expect.unique()}", "email": expect.unique_email(), **overrides}
        answer = self.post("/users", json=fields)
        name, email = fields["name"].strip(" \t\r\n"), fields["email"].lower()
        return expect.user(answer, 201, name=name, email=email)

    def connect(self, timeout: float = 5.0) -> Connection:
        """A fresh raw connection; `timeout` bounds each of its reads, in seconds."""
        parts = urlsplit(self._any())
        host, port = parts.hostname or "", parts.port or 80
        forwarded = self._forwarded if self._as_proxy else None
        return Connection(host, port, timeout, self.name, self.authorization, forwarded=forwarded)

    def _forwarded(self, method: str, target: str, *, anonymous: bool = False) -> str:
        """The address of whom a request comes from, where that is counted; else nothing."""
        counted = target.startswith("/auth/token") or (anonymous and target == "/users")
        if not self._as_proxy or method != "POST" or not counted:
            return ""
        return f"198.18.{secrets.randbelow(256)}.{secrets.randbelow(256)}"  # RFC 2544, for tests

    def raw(self, data: bytes, *, method: str = "GET") -> Answer:
        """The answer to these bytes on a connection of their own.

        A server may answer and close before it has taken everything; its answer counts.
        """
        with self.connect() as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.send(data)
            return connection.read(method)

    def message(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes | None = None,
    ) -> bytes:
        """The bytes of an ordinary request: Host first, Content-Length when there is a body."""
        fields = [("Host", self.host), *headers]
        if (own := self.authorization) and "authorization" not in [n.lower() for n, _ in fields]:
            fields.append(("Authorization", own))
        if body is not None:
            fields.append(("Content-Length", str(len(body))))
        return message(method, target, fields, body or b"")

    def at_once(self, requests: Sequence[bytes]) -> list[Answer]:
        """Send each request on a connection of its own, all before the first answer is read."""
        with contextlib.ExitStack() as stack:
            connections = [stack.enter_context(self.connect(30.0)) for _ in requests]
            for connection, data in zip(connections, requests, strict=True):
                connection.send(data)
            return [
                connection.read(data.split(b" ", 1)[0].decode("ascii"))
                for connection, data in zip(connections, requests, strict=True)
            ]

    def close(self) -> None:
        """Close the pool."""
        self._http.close()


def _origin(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError(f"{url!r} is not of the form http://host:port")
    return f"http://{parts.netloc}"
