"""The routes of events: HTTP only."""

from typing import Annotated

from fastapi import APIRouter, Response, WebSocket

from python_api.auth.guard import AnyCaller
from python_api.events import docs
from python_api.events.feed import Feed
from python_api.events.handshake import SUBPROTOCOL, Handshake, SocketCaller, upgrade_required
from python_api.events.pages import EventPageQuery, StreamStart, next_link
from python_api.events.schemas import to_json
from python_api.events.service import Events
from python_api.events.sockets import Conversation
from python_api.events.streams import Stream
from python_api.http.readers import ReadingRoute, from_app

router = APIRouter(route_class=ReadingRoute)

TheEvents = Annotated[Events, from_app("events")]
TheFeed = Annotated[Feed, from_app("feed")]


@router.get("/events", openapi_extra=docs.LIST_EVENTS)
async def list_events(caller: AnyCaller, page: EventPageQuery, events: TheEvents) -> Response:
    """List events: a bare array, with a link to the next page if there is one.

    Clauses: EVENT-07, EVENT-10, EVENT-12.
    """
    found = await events.list_page(caller, page)
    shown = found[: page.limit]
    has_more = len(found) > page.limit
    headers = {"Link": next_link(page, shown[-1].position)} if has_more else {}
    body = f"[{','.join(map(to_json, shown))}]"
    return Response(body, 200, headers, media_type="application/json")


@router.get("/events/stream", openapi_extra=docs.STREAM_EVENTS)
async def stream_events(caller: AnyCaller, after: StreamStart, feed: TheFeed) -> Response:
    """Follow events: a stream of Server-Sent Events. Clauses: STREAM-01, STREAM-12."""
    position = await feed.begin(after)
    return Stream(feed, feed.join(caller, position))


@router.get("/events/socket", openapi_extra=docs.FOLLOW_EVENTS)
async def refuse_http(_caller: SocketCaller, _handshake: Handshake) -> Response:
    """Follow events, but not by WebSocket, of which FastAPI has routes of their own.

    Raises upgrade-required.

    Clauses: SOCK-02.
    """
    raise upgrade_required()


@router.websocket("/events/socket")
async def follow_events(socket: WebSocket, caller: SocketCaller, _handshake: Handshake) -> None:
    """Follow events: a WebSocket. Clauses: SOCK-01."""
    feed: Feed = socket.app.state.feed
    follower = feed.join(caller)
    try:
        await socket.accept(SUBPROTOCOL)
        first_seconds = socket.app.state.settings.request_timeout
        await Conversation(socket, feed, follower, first_seconds).run()
    finally:
        feed.leave(follower)
