"""The WebSocket of events: what the client wants, and what it is told."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import WebSocket
from starlette.types import Message

from python_api.events.feed import Feed, Follower
from python_api.events.pages import position_rule
from python_api.events.schemas import TYPES, Event, to_json
from python_api.http.problems import Problem
from python_api.http.requests import MAX_INTEGER, parse_json
from python_api.operation.observability import log, trace
from python_api.storage.database import is_unavailable

MAX_USERS = 100

# RFC 6455, 7.4.1
GOING_AWAY = 1001
BINARY = 1003
POLICY = 1008
FAILED = 1011
# Of our own (7.4.2), by the problem: 4000 and the status that a request would be answered with.
CODES = {"unauthorized": 4401, "events-gone": 4410, "unavailable": 4503}


class Close(Exception):
    """The reason for which a socket is closed, and its code."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client wants to be told."""

    after: int | None
    """The position behind which it begins; None where it isn't said."""
    types: frozenset[object] | None
    """Of these types alone; None for all."""
    users: frozenset[object] | None
    """Of these users alone; None for all."""

    def includes(self, event: Event) -> bool:
        """Whether it is wanted. Clauses: SOCK-09."""
        of_type = self.types is None or event.type in self.types
        return of_type and (self.users is None or event.user_id in self.users)


def parse_wanted(text: str) -> Wanted:
    """What the client's message says. Raises malformed-json and validation.

    Clauses: SOCK-07, SOCK-15.
    """
    document = parse_json(text.encode("utf-8"), float)
    if not isinstance(document, dict) or not document.keys() <= {"after", "types", "users"}:
        raise Problem("validation")
    return Wanted(
        _position(document["after"]) if "after" in document else None,
        _set_of(document["types"], len(TYPES), _is_type) if "types" in document else None,
        _set_of(document["users"], MAX_USERS, _is_id) if "users" in document else None,
    )


def _position(value: object) -> int:
    """The position that the value is. Raises validation."""
    if not isinstance(value, str) or position_rule(value):
        raise Problem("validation")
    return int(value)


def _set_of(value: object, most: int, is_one: Callable[[object], bool]) -> frozenset[object]:
    """The members of a list of one to `most`. Raises validation."""
    if not isinstance(value, list) or not 1 <= len(value) <= most or not all(map(is_one, value)):
        raise Problem("validation")
    return frozenset(value)


def _is_type(value: object) -> bool:
    return value in TYPES


def _is_id(value: object) -> bool:
    # 7.0 and 7e0 are the number 7 in JavaScript.
    return isinstance(value, float) and value.is_integer() and 1 <= value <= MAX_INTEGER


class Conversation:
    """What is said on an open socket, until either side closes it."""

    def __init__(
        self, socket: WebSocket, feed: Feed, follower: Follower, first_seconds: float
    ) -> None:
        """With the client of this socket, whose first message is waited for so long at most."""
        self._socket = socket
        self._feed = feed
        self._follower = follower
        self._first_seconds = first_seconds
        self._has_begun = False

    async def run(self) -> None:
        """Tell the client what it wants to know, and close when there is a reason to.

        Clauses: SOCK-16, SOCK-17, SOCK-18, SOCK-21.
        """
        try:
            await self._converse()
        except Exception as error:  # noqa: BLE001
            close = _as_close(error)
            await self._socket.close(close.code, close.reason)

    async def _converse(self) -> None:
        """Take messages, and send what was asked for last, until the client is gone.

        Raises Close, unauthorized, events-gone and unavailable.

        Clauses: SOCK-08.
        """
        sending = asyncio.create_task(self._await_first())
        receiving = asyncio.create_task(self._socket.receive())
        try:
            while True:
                await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
                if self._feed.stopping or not receiving.done():
                    await sending
                    raise Close(GOING_AWAY)
                message = receiving.result()
                if message["type"] == "websocket.disconnect":
                    return
                wanted = _read(message)
                self._follower.interrupt()
                await sending
                self._follower.is_interrupted = False
                sending = asyncio.create_task(self._send(wanted))
                receiving = asyncio.create_task(self._socket.receive())
        finally:
            receiving.cancel()
            self._follower.interrupt()
            await sending

    async def _await_first(self) -> None:
        """Wait for the first message. Raises Close. Clauses: SOCK-15."""
        now = asyncio.get_running_loop().time
        deadline = now() + self._first_seconds
        while not self._feed.stopping and not self._follower.is_interrupted:
            if now() >= deadline:
                raise Close(POLICY, "timeout")
            await self._follower.wait(deadline - now())

    async def _send(self, wanted: Wanted) -> None:
        """Send what is wanted, until another message comes or the service stops.

        Raises unauthorized, events-gone and unavailable.

        Clauses: SOCK-08, SOCK-09, SOCK-10, SOCK-16, SOCK-17, SOCK-21.
        """
        await self._feed.confirm(self._follower)
        if wanted.after is not None or not self._has_begun:
            self._follower.position = await self._begin(wanted.after)
            self._has_begun = True
        await self._tell_position()
        async for page in self._feed.pages(self._follower):
            if not page:
                await self._tell_position()
            for event in page:
                if wanted.includes(event):
                    await self._socket.send_text(to_json(event))
                self._follower.position = event.position

    async def _begin(self, after: int | None) -> int:
        """The position behind which to begin. Raises events-gone and unavailable.

        Clauses: SOCK-21.
        """
        try:
            return await self._feed.begin(after)
        except Exception as error:
            if not is_unavailable(error):
                raise
            raise Problem("unavailable") from None

    async def _tell_position(self) -> None:
        await self._socket.send_text(f'{{"after":"{self._follower.position}"}}')


def _as_close(error: Exception) -> Close:
    """The reason to close that the error is; a failure is logged. Clauses: OPS-11, SOCK-18."""
    if isinstance(error, Close):
        return error
    if isinstance(error, Problem) and error.code in CODES:
        return Close(CODES[error.code], error.code)
    log("error", "socket failed", error=trace(error))
    return Close(FAILED)


def _read(message: Message) -> Wanted:
    """What the client's message says. Raises Close. Clauses: SOCK-14, SOCK-15."""
    if "text" not in message:
        raise Close(BINARY)
    try:
        return parse_wanted(message["text"])
    except Problem as problem:
        raise Close(POLICY, problem.code) from None
