"""Pages of the list: its parameters, the cursor, and the link to the next page.

Pages are by key, not by offset: a page begins after the last user of the one before it, so a
user that doesn't change is seen exactly once, whatever is created or deleted in between.
"""

import base64
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, NamedTuple

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
from python_api.http.requests import MAX_INTEGER, integer_rule, percent_encode, read_query
from python_api.operation.observability import timestamp
from python_api.users.schemas import FORBIDDEN, MAX_EMAIL, TEXT_PATTERN, TRIMMED, User, text_rule

SORTS = ("id", "name", "email", "created_at")
DEFAULT_SORT = "id"


class Cursor(NamedTuple):
    """Where a page ends: the list's order and search text, and the last user's place in it."""

    sort: str
    q: str | None
    key: str | int
    """The user's value of the column that the list is sorted by."""
    id: int


@dataclass(frozen=True, slots=True)
class Page:
    """Which users to list."""

    limit: int
    sort: str
    column: str
    """The column that it is sorted by."""
    descending: bool
    """Whether it goes from high to low; ties go by ascending id all the same."""
    q: str | None
    after: Cursor | None


async def parse_page(request: Request) -> Page:
    """The page that the query asks for; unknown parameters are ignored.

    Raises malformed-query and validation.

    Clauses: PROB-14, PROB-16, QUERY-01, QUERY-09, USR-LIST-03, USR-LIST-04, USR-LIST-05,
    USR-LIST-06, USR-LIST-09, USR-LIST-14, USR-LIST-15, USR-LIST-20.
    """
    sent = named_values(read_query(request), ("limit", "sort", "q", "cursor"))
    limit = sent["limit"][0] if sent["limit"] else str(DEFAULT_LIMIT)
    sort = sent["sort"][0] if sent["sort"] else DEFAULT_SORT
    q = sent["q"][0].strip(TRIMMED) if sent["q"] else None
    after = _decode_cursor(sent["cursor"][0]) if sent["cursor"] else None
    column = sort.removeprefix("-")

    rules = {
        "limit": integer_rule(limit, MAX_LIMIT),
        "sort": None if column in SORTS else "malformed",
        "q": None if q is None else text_rule(q),
        "cursor": "malformed" if sent["cursor"] and not after else None,
        **repeated(sent),
    }
    # A cursor belongs to the list that it was made for (CURSOR-05, CURSOR-06, CURSOR-07,
    # CURSOR-11).
    if after and not (rules["sort"] or rules["q"]) and (after.sort, after.q) != (sort, q):
        rules["cursor"] = "malformed"
    check_parameters(rules)
    return Page(int(limit), sort, column, sort.startswith("-"), q, after)


PageQuery = Annotated[
    Page,
    Reader(
        parse_page,
        {
            "parameters": [
                limit_parameter("users"),
                {
                    "name": "sort",
                    "in": "query",
                    "description": "The order, `-` for descending; text by code point, ties by "
                    "ascending id.",
                    "schema": {
                        "type": "string",
                        "enum": [*SORTS, *(f"-{sort}" for sort in SORTS)],
                        "default": DEFAULT_SORT,
                    },
                },
                {
                    "name": "q",
                    "in": "query",
                    "description": "Only users whose name or email contains this, compared in "
                    "lower case.",
                    "schema": {"type": "string", "pattern": TEXT_PATTERN},
                    "example": "ada",
                },
                {
                    "name": "cursor",
                    "in": "query",
                    "description": "Where the page begins: opaque, from the `Link` of the page "
                    "before.",
                    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"},
                },
            ],
            "x-problems": query_problems("limit"),
        },
    ),
]


def next_link(page: Page, last: User) -> str:
    """The `Link` (RFC 8288) to the page after the one that ends with the user `last`.

    Clauses: CURSOR-01, USR-LIST-16, USR-LIST-17.
    """
    cursor = Cursor(page.sort, page.q, getattr(last, page.column), last.id)
    parameters = {"limit": str(page.limit), "sort": page.sort}
    if page.q is not None:
        parameters["q"] = page.q
    parameters["cursor"] = _encode_cursor(cursor)
    query = "&".join(f"{name}={percent_encode(value)}" for name, value in parameters.items())
    return f'</users?{query}>; rel="next"'


def _encode_cursor(cursor: Cursor) -> str:
    """The cursor as it is given out: JSON in base64url. Clauses: CURSOR-01."""
    text = json.dumps(cursor, ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode("utf-8")).decode("ascii").rstrip("=")


def _decode_cursor(text: str) -> Cursor | None:
    """The cursor; None if it isn't, to the letter, one that could have been given out.

    Clauses: CURSOR-02, CURSOR-08, CURSOR-09.
    """
    try:
        value = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("utf-8"))
        match value:
            case [str(sort), str() | None as q, str() | int() as key, int(id_)]:
                cursor = Cursor(sort, q, key, id_)
            case _:
                return None
        return cursor if _is_place(cursor) and _encode_cursor(cursor) == text else None
    except (ValueError, RecursionError):
        return None


def _is_place(cursor: Cursor) -> bool:
    """Whether there could be a user at this place of the list. Clauses: CURSOR-10."""
    column = cursor.sort.removeprefix("-")
    is_key = {"id": _is_id, "created_at": _is_moment}.get(column, _is_text)
    return is_key(cursor.key) and _is_id(cursor.id)


def _is_id(value: object) -> bool:
    return type(value) is int and 1 <= value <= MAX_INTEGER


def _is_moment(value: object) -> bool:
    """Whether it is a timestamp as users have them, of a day that there is from the year 1 on.

    Clauses: CURSOR-10.
    """
    if not isinstance(value, str) or not value.endswith("Z"):
        return False
    try:
        return timestamp(datetime.fromisoformat(value)) == value
    except ValueError:
        return False


def _is_text(value: object) -> bool:
    """Whether it is what a name or an email could be. Clauses: CURSOR-10."""
    return isinstance(value, str) and len(value) <= MAX_EMAIL and not FORBIDDEN.search(value)
