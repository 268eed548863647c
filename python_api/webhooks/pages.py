"""Pages of a webhook's deliveries: which to list, and the link to the next page."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Request

from python_api.events.pages import after_parameter, position_rule
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
from python_api.http.requests import integer_rule, read_query


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """Which deliveries to list."""

    limit: int
    after: int
    """The position behind which it begins."""


async def parse_delivery_page(request: Request) -> DeliveryPage:
    """The page that the query asks for; unknown parameters are ignored.

    Raises malformed-query and validation.

    Clauses: HOOK-19, PROB-14, PROB-16, QUERY-01, QUERY-09.
    """
    sent = named_values(read_query(request), ("limit", "after"))
    limit = sent["limit"][0] if sent["limit"] else str(DEFAULT_LIMIT)
    after = sent["after"][0] if sent["after"] else "0"
    check_parameters(
        {
            "limit": integer_rule(limit, MAX_LIMIT),
            "after": position_rule(after),
            **repeated(sent),
        }
    )
    return DeliveryPage(int(limit), int(after))


DeliveryPageQuery = Annotated[
    DeliveryPage,
    Reader(
        parse_delivery_page,
        {
            "parameters": [
                limit_parameter("deliveries"),
                after_parameter("The position behind which the page begins."),
            ],
            "x-problems": query_problems("limit"),
        },
    ),
]


def next_link(webhook_id: int, page: DeliveryPage, last: str) -> str:
    """The `Link` (RFC 8288) to the page behind the position `last`. Clauses: HOOK-19."""
    return f'</webhooks/{webhook_id}/deliveries?limit={page.limit}&after={last}>; rel="next"'
