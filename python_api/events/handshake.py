"""The opening handshake of the WebSocket of events: who asks, and whether it is one."""

import re
from typing import Annotated

from fastapi import Depends, WebSocket
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from python_api.auth.guard import GUARDED, Caller, Guard
from python_api.http.openapi import Piece
from python_api.http.problems import Problem
from python_api.http.readers import Reader
from python_api.http.requests import TOKEN, header, malformed_header

SUBPROTOCOL = "events.v1"
# Of this subprotocol, what follows is a token.
BEARER = "bearer."

VERSION = "13"
# 16 bytes in base64 (RFC 6455, 4.1)
KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
TOKENS = re.compile(rf"{TOKEN}(?:[ \t]*,[ \t]*{TOKEN})*")


async def _caller(connection: HTTPConnection) -> Caller | None:
    """The caller, by the token in `Authorization` or in a subprotocol. Raises unauthorized."""
    guard: Guard = connection.app.state.guard
    return await guard.caller(_with_token(connection.headers))


def _with_token(headers: Headers) -> Headers:
    """The fields, as `Authorization` the token of a subprotocol where there is no such field.

    Clauses: SOCK-04.
    """
    tokens = [name for name in _subprotocols(headers) if name.startswith(BEARER)]
    if not tokens or "authorization" in headers:
        return headers
    return Headers({"authorization": f"Bearer {tokens[0].removeprefix(BEARER)}"})


def _subprotocols(headers: Headers) -> list[str]:
    """The subprotocols that the client offers."""
    offered = header(headers, "sec-websocket-protocol") or ""
    return [name.strip(" \t") for name in offered.split(",")]


async def _check(connection: HTTPConnection) -> None:
    """Raise foreign-origin, upgrade-required or malformed-header for what is no handshake.

    Clauses: SOCK-01, SOCK-02, SOCK-03, SOCK-05, SOCK-06.
    """
    headers = connection.headers
    origin = header(headers, "origin")
    if origin is not None and origin not in connection.app.state.settings.cors_origins:
        raise Problem("foreign-origin")
    is_asked_for = isinstance(connection, WebSocket)
    if not is_asked_for or header(headers, "sec-websocket-version") != VERSION:
        raise upgrade_required()
    if not KEY.fullmatch(header(headers, "sec-websocket-key") or ""):
        raise malformed_header("Sec-WebSocket-Key")
    offered = header(headers, "sec-websocket-protocol") or ""
    if not TOKENS.fullmatch(offered) or SUBPROTOCOL not in _subprotocols(headers):
        raise malformed_header("Sec-WebSocket-Protocol")


def upgrade_required() -> Problem:
    """426, with the protocol and its version (RFC 9110, 15.5.22; RFC 6455, 4.4)."""
    headers = {"Upgrade": "websocket", "Sec-WebSocket-Version": VERSION}
    return Problem("upgrade-required", headers=headers)


PIECE: Piece = {
    "x-problems": [
        "foreign-origin",
        upgrade_required(),
        malformed_header("Sec-WebSocket-Key"),
        malformed_header("Sec-WebSocket-Protocol"),
    ]
}
# FastAPI resolves these for a WebSocket in the order of the signature, as `ReadingRoute` does.
SocketCaller = Annotated[Caller | None, Reader(_caller, GUARDED), Depends(_caller)]
Handshake = Annotated[None, Reader(_check, PIECE), Depends(_check)]
