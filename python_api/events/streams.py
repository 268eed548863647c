"""Streams of events (Server-Sent Events).

One task reads new events for all streams of a process, and keeps the last of them, so that streams
that are up to date don't ask the database. One that lags behind reads a page of older events, when
its client has taken the page before.
"""

import asyncio
import traceback
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from itertools import islice

from anyio import CancelScope
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from python_api.auth.guard import Caller, Guard
from python_api.events.schemas import Event, to_json
from python_api.events.service import Events, may_see
from python_api.http.problems import Problem
from python_api.operation.observability import log
from python_api.settings import Settings
from python_api.storage.database import is_unavailable

# How often there is a look for new events, while there is a stream.
LOOK_SECONDS = 0.02
# How long to wait while the database is unavailable.
AWAY_SECONDS = 0.5
# How many events are kept for the streams, and sent at once.
RECENT = 200
PAGE = 100

# How long a client that has lost its stream waits until it asks again, in milliseconds.
RETRY = 1000


class Streams:
    """The streams of a process."""

    def __init__(self, settings: Settings, events: Events, guard: Guard) -> None:
        """Streams of these events; connections are left for whoever asks for something else."""
        self._settings = settings
        self._events = events
        self._guard = guard
        self._most = max(1, min(settings.events_streams, settings.max_connections // 2))
        self._stopping = asyncio.Event()
        self._open = 0
        self._recent: deque[Event] = deque(maxlen=RECENT)
        # The position up to which there was a look.
        self._seen = 0
        self._news = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    async def open(self, caller: Caller | None, after: int | None) -> "Stream":
        """A stream of what the caller may see, behind the position `after` or from now on.

        Raises events-gone and too-many-streams.

        Clauses: STREAM-03, STREAM-04, STREAM-08.
        """
        position = await self._events.last_position()
        if after is not None:
            await self._events.check_kept(after)
        if self._open >= self._most:
            raise Problem("too-many-streams")
        self._open += 1
        if self._looking is None or self._looking.done():
            self._recent.clear()
            self._seen = position
            self._looking = asyncio.create_task(self._look())
        return Stream(self, caller, position if after is None else after)

    def close(self) -> None:
        """Count a stream no more. Clauses: STREAM-08."""
        self._open -= 1

    def stop(self) -> None:
        """End all streams. Clauses: STREAM-10."""
        self._stopping.set()
        self._tell()

    async def _look(self) -> None:
        """Look for new events again and again, and tell the streams, as long as there are any.

        Clauses: STREAM-05, STREAM-10, STREAM-11.
        """
        while self._open and not self._stopping.is_set():
            await self._look_once()

    async def _look_once(self) -> None:
        found: list[Event] = []
        pause = LOOK_SECONDS
        try:
            found = await self._events.list_behind(self._seen, PAGE)
        except Exception as error:  # noqa: BLE001
            if not is_unavailable(error):
                log("error", "events cannot be read", error=_trace(error))
            pause = AWAY_SECONDS
        if found:
            if found[0].position > self._seen + 1:
                self._recent.clear()
            self._recent += found
            self._seen = found[-1].position
            self._tell()
        if len(found) < PAGE:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def chunks(self, caller: Caller | None, position: int) -> AsyncIterator[str]:
        """What is sent, block by block, until the stream has to end. Never fails."""
        try:
            async for chunk in self._chunks(caller, position):
                yield chunk
        except Exception as error:  # noqa: BLE001
            log("error", "stream failed", error=_trace(error))

    async def _chunks(self, caller: Caller | None, position: int) -> AsyncIterator[str]:
        """What is sent, block by block, until the stream has to end.

        Clauses: STREAM-02, STREAM-05, STREAM-06, STREAM-07, STREAM-09, STREAM-10, STREAM-11.
        """
        yield f"retry: {RETRY}\nid: {position}\n\n"
        now = asyncio.get_running_loop().time
        beat = now() + self._settings.events_heartbeat
        while not self._stopping.is_set():
            news = self._news
            if now() >= beat:
                beat = now() + self._settings.events_heartbeat
                # First: the database may take its time.
                yield f":\nid: {position}\n\n"
                if not await self._may_go_on(caller):
                    return
            try:
                found, position = await self._next(caller, position)
            except Problem:
                return
            except Exception as error:
                if not is_unavailable(error):
                    raise
                await asyncio.sleep(AWAY_SECONDS)
                continue
            if found:
                yield "".join(map(_block, found))
            elif position >= self._seen:
                with suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), beat - now())

    async def _next(self, caller: Caller | None, position: int) -> tuple[Sequence[Event], int]:
        """The next events for the caller, some at most, and the position that is reached with them.

        Raises events-gone.

        Clauses: RIGHT-16, STREAM-04.
        """
        seen = self._seen
        if position >= seen:
            return [], position
        if self._recent and self._recent[0].position <= position + 1:
            start = position + 1 - self._recent[0].position
            new = [*islice(self._recent, start, start + PAGE)]
            return [event for event in new if may_see(caller, event)], position + len(new)
        # A client that leaves cancels its stream, and a transaction has to end well.
        with CancelScope(shield=True):
            found = await self._events.list_behind(position, PAGE, caller)
            await self._events.check_kept(position)
        # What lies between the last one found and `seen` is somebody else's.
        reached = found[-1].position if found else position
        return found, reached if len(found) == PAGE else max(reached, seen)

    async def _may_go_on(self, caller: Caller | None) -> bool:
        """Whether the caller may still see it; who can't be judged at the moment may.

        Clauses: STREAM-07.
        """
        try:
            return await self._guard.is_still(caller)
        except Exception as error:
            if not is_unavailable(error):
                raise
            return True


class Stream(StreamingResponse):
    """The answer to whoever follows; it counts as open until it has ended, however it does."""

    def __init__(self, streams: Streams, caller: Caller | None, position: int) -> None:
        """What the caller may see behind this position. Clauses: STREAM-01."""
        # Not FastAPI's EventSourceResponse, which would name a charset.
        fields = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
        super().__init__(streams.chunks(caller, position), headers=fields)
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. Clauses: STREAM-08."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.close()


def _block(event: Event) -> str:
    """An event as it is sent (HTML, 9.2.5). Clauses: STREAM-02."""
    return f"event: {event.type}\ndata: {to_json(event)}\nid: {event.position}\n\n"


def _trace(error: Exception) -> str:
    return "".join(traceback.format_exception(error))
