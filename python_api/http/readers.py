"""Readers: what a handler reads of its request stands in its signature, in the order of failures.

A reader takes one thing out of a request, or raises the problem that says why it can't, and brings
its piece of the OpenAPI document along. FastAPI's own parameters would read the body before the
caller is known, and take much that the contract refuses.
"""

from collections import ChainMap
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from inspect import iscoroutinefunction, signature
from typing import Annotated, Any, Generic, TypeVar, get_args

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from python_api.http.addresses import client_address
from python_api.http.openapi import content, operation
from python_api.http.problems import Problem, issue
from python_api.http.requests import (
    JSON,
    EntityTags,
    entity_tags,
    header,
    malformed_header,
    parse_body,
    parse_json,
    read_body,
    read_to_end,
    unsupported_media_type,
)
from python_api.settings import Settings
from python_api.storage.database import Database

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Reader:
    """How a parameter is read: `Annotated[EntityTags | None, Reader(...)]`."""

    read: Callable[[Request], Any]
    """Gives the value, or an awaitable of it. Raises `Problem`."""
    piece: Mapping[str, Any] | None = None
    """What it adds to an OpenAPI operation; in `x-problems` the problems that it raises."""


class ReadingRoute(APIRoute):
    """A route whose handler is given what the readers of its parameters read, one after another.

    `openapi_extra` is the operation as far as no reader knows it.
    """

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Awaitable[Response]],
        *,
        openapi_extra: dict[str, Any],
        **others: Any,
    ) -> None:
        readers = [
            next(each for each in get_args(parameter.annotation) if isinstance(each, Reader))
            for parameter in signature(endpoint).parameters.values()
        ]
        steps = [(reader.read, iscoroutinefunction(reader.read)) for reader in readers]

        async def handle(request: Request) -> Response:
            values = [await read(request) if waits else read(request) for read, waits in steps]
            return await endpoint(*values)

        described = operation(openapi_extra, *(reader.piece or {} for reader in readers))
        super().__init__(path, handle, **{**others, **described})


def from_app(name: str) -> Reader:
    """What the application was made with: `app.state.name`."""
    return Reader(lambda request: getattr(request.app.state, name))


TheSettings = Annotated[Settings, from_app("settings")]
TheDatabase = Annotated[Database, from_app("database")]


@dataclass(frozen=True, slots=True)
class Sent(Generic[Model]):
    """A JSON body: its bytes, and what they say."""

    content: bytes
    fields: Model


def json_body(
    model: type[Model], example: Mapping[str, Any], broken: str, accepted: Collection[str] = JSON
) -> Reader:
    """The body as a `Sent[model]`; `broken` is a member that may be malformed.

    Raises unsupported-media-type, body-too-large, malformed-json and validation.

    Clauses: PROB-12, PROB-13, PROB-15, PROB-16.
    """

    async def read(request: Request) -> Sent[Model]:
        body = await read_body(request, accepted)
        return Sent(body, parse_body(model, parse_json(body)))

    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    bodies = [content(schema, example, media_type) for media_type in accepted]
    return Reader(
        read,
        {
            "requestBody": {"required": True, "content": dict(ChainMap(*bodies))},
            "x-problems": [
                unsupported_media_type(accepted),
                "body-too-large",
                "malformed-json",
                Problem("validation", [issue("pointer", f"#/{broken}", "malformed")]),
            ],
        },
    )


def _condition(name: str, description: str) -> Reader:
    """A conditional header field. Raises malformed-header. Clauses: PROB-14."""
    parameter = {
        "name": name,
        "in": "header",
        "description": description,
        "schema": {"type": "string"},
        "example": '"1"',
    }
    return Reader(
        lambda request: entity_tags(request, name),
        {"parameters": [parameter], "x-problems": [malformed_header(name)]},
    )


# Only a change looks at it (COND-02, COND-14, COND-17).
IfMatch = Annotated[
    EntityTags | None,
    _condition("If-Match", "Only if one of these ETags, or `*`, is the user's (RFC 9110, 13.1.1)."),
]
# Only a read looks at it (COND-11, COND-14, COND-17).
IfNoneMatch = Annotated[
    EntityTags | None,
    _condition("If-None-Match", "Only if none of these ETags is the user's (RFC 9110, 13.1.2)."),
]


def _address(request: Request) -> str:
    """Where the request comes from. Clauses: LIMIT-07."""
    settings: Settings = request.app.state.settings
    peer = request.client.host if request.client else ""
    forwarded = header(request.headers, "x-forwarded-for") or ""
    return client_address(peer, forwarded, settings.trusted_proxies)


ClientAddress = Annotated[str, Reader(_address)]
IgnoredBody = Annotated[None, Reader(read_to_end)]
