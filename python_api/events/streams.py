"""Streams of events (Server-Sent Events)."""

from collections.abc import AsyncIterator

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from python_api.events.feed import Feed, Follower
from python_api.events.schemas import Event, to_json
from python_api.http.problems import Problem
from python_api.operation.observability import log, trace

# How long a client that has lost its stream waits until it asks again, in milliseconds.
RETRY = 1000


class Stream(StreamingResponse):
    """The answer to whoever follows; it counts as open until it has ended, however it does."""

    def __init__(self, feed: Feed, follower: Follower) -> None:
        """What the follower may see behind their position. Clauses: STREAM-01."""
        # Not FastAPI's EventSourceResponse, which would name a charset.
        fields = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
        super().__init__(_chunks(feed, follower), headers=fields)
        self._feed = feed
        self._follower = follower

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. Clauses: STREAM-08."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._feed.leave(self._follower)


async def _chunks(feed: Feed, follower: Follower) -> AsyncIterator[str]:
    """What is sent, block by block, until the stream has to end. Never fails.

    Clauses: STREAM-02, STREAM-04, STREAM-06, STREAM-07, STREAM-10.
    """
    yield f"retry: {RETRY}\nid: {follower.position}\n\n"
    try:
        async for page in feed.pages(follower):
            yield "".join(map(_block, page)) or f":\nid: {follower.position}\n\n"
    except Problem:
        # Who asks again is told which.
        return
    except Exception as error:  # noqa: BLE001
        log("error", "stream failed", error=trace(error))


def _block(event: Event) -> str:
    """An event as it is sent (HTML, 9.2.5). Clauses: STREAM-02."""
    return f"event: {event.type}\ndata: {to_json(event)}\nid: {event.position}\n\n"
