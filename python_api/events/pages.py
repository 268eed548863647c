"""Pages of the log: which events to list, and the link to the next page."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Request

from python_api.http.pages import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    check_parameters,
    limit_parameter,
    named_values,
    query_problems,
    repeated,
)
from python_api.http.readers import Reader
from python_api.http.requests import MAX_INTEGER, header, integer_rule, malformed_header, read_query

SORTS = ("id", "-id")
DEFAULT_SORT = "id"


@dataclass(frozen=True, slots=True)
class EventPage:
    """Which events to list."""

    limit: int
    sort: str
    after: int | None
    """The position behind which it begins, in the list's order."""
    descending: bool
    """Whether the newest come first."""


async def parse_event_page(request: Request) -> EventPage:
    """The page that the query asks for; unknown parameters are ignored.

    Raises malformed-query and validation.

    Clauses: EVENT-07, EVENT-08, EVENT-09, EVENT-11, PROB-14, PROB-16, QUERY-01, QUERY-09.
    """
    sent = named_values(read_query(request), ("limit", "sort", "after"))
    limit = sent["limit"][0] if sent["limit"] else str(DEFAULT_LIMIT)
    sort = sent["sort"][0] if sent["sort"] else DEFAULT_SORT
    after = sent["after"][0] if sent["after"] else None
    rules = {
        "limit": integer_rule(limit, MAX_LIMIT),
        "sort": None if sort in SORTS else "malformed",
        "after": None if after is None else position_rule(after),
        **repeated(sent),
    }
    check_parameters(rules)
    return EventPage(int(limit), sort, None if after is None else int(after), sort == "-id")


def position_rule(position: str) -> str | None:
    """The rule that a position breaks, if any. Clauses: EVENT-09."""
    return None if position == "0" else integer_rule(position, MAX_INTEGER)


def after_parameter(description: str) -> dict[str, Any]:
    """The parameter `after` in the OpenAPI document."""
    return {
        "name": "after",
        "in": "query",
        "description": description,
        "schema": {"type": "integer", "minimum": 0, "maximum": MAX_INTEGER},
    }


EventPageQuery = Annotated[
    EventPage,
    Reader(
        parse_event_page,
        {
            "parameters": [
                limit_parameter("events"),
                {
                    "name": "sort",
                    "in": "query",
                    "description": "The oldest first, or with `-id` the newest.",
                    "schema": {"type": "string", "enum": [*SORTS], "default": DEFAULT_SORT},
                },
                after_parameter("The position behind which the page begins, in its order."),
            ],
            "x-problems": query_problems("limit"),
        },
    ),
]


async def _read_start(request: Request) -> int | None:
    """The position behind which a stream begins; none where it begins with what comes next.

    Raises malformed-header, malformed-query and validation.

    Clauses: PROB-14, QUERY-01, STREAM-03.
    """
    sent_last = header(request.headers, "last-event-id")
    if sent_last is not None and position_rule(sent_last):
        raise malformed_header("Last-Event-ID")
    sent = named_values(read_query(request), ["after"])
    after = sent["after"][0] if sent["after"] else None
    check_parameters({"after": None if after is None else position_rule(after), **repeated(sent)})
    start = after if sent_last is None else sent_last
    return None if start is None else int(start)


StreamStart = Annotated[
    int | None,
    Reader(
        _read_start,
        {
            "parameters": [
                {
                    "name": "Last-Event-ID",
                    "in": "header",
                    "description": "The position that was reached, in place of `after`.",
                    "schema": {"type": "string", "pattern": "^(0|[1-9][0-9]*)$"},
                    "example": "41",
                },
                after_parameter(
                    "The position behind which the stream begins; else what comes next."
                ),
            ],
            "x-problems": [malformed_header("Last-Event-ID"), *query_problems("after")],
        },
    ),
]


def next_link(page: EventPage, last: int) -> str:
    """The `Link` (RFC 8288) to the page behind the position `last`. Clauses: EVENT-10."""
    return f'</events?limit={page.limit}&sort={page.sort}&after={last}>; rel="next"'
