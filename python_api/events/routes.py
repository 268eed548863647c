"""The routes of events: HTTP only."""

from typing import Annotated

from fastapi import APIRouter, Response

from python_api.auth.guard import AnyCaller
from python_api.events import docs
from python_api.events.pages import EventPageQuery, StreamStart, next_link
from python_api.events.schemas import to_json
from python_api.events.service import Events
from python_api.events.streams import Streams
from python_api.http.readers import ReadingRoute, from_app

router = APIRouter(route_class=ReadingRoute)

TheEvents = Annotated[Events, from_app("events")]
TheStreams = Annotated[Streams, from_app("streams")]


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
async def stream_events(caller: AnyCaller, after: StreamStart, streams: TheStreams) -> Response:
    """Follow events: a stream of Server-Sent Events. Clauses: STREAM-01, STREAM-12."""
    return await streams.open(caller, after)
