"""Readers: what a handler reads of its request stands in its signature, in the order of failures.

A reader takes one thing out of a request, or raises the problem that says why it can't, and brings
its piece of the OpenAPI document along. FastAPI's own parameters would read the body before the
caller is known, and take much that the contract refuses.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import Annotated, Any, Generic, TypeVar, get_args

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from python_api.http.addresses import client_address
from python_api.http.openapi import Piece, content, operation
from python_api.http.problems import Problem, issue
from python_api.http.requests import (
    JSON,
    MAX_INTEGER,
    EntityTags,
    entity_tags,
    header,
    malformed_header,
    parse_body,
    parse_json,
    path_id,
    read_body,
    read_to_end,
    unsupported_media_type,
)
from python_api.settings import Settings
from python_api.storage.database import Database

Value = TypeVar("Value")
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Reader(Generic[Value]):
    """How a parameter is read: `Annotated[EntityTags | None, Reader(...)]`."""

    read: Callable[[Request], Awaitable[Value]]
    """Gives the value. Raises `Problem`."""
    piece: Piece = field(default_factory=Piece)
    """What it adds to an OpenAPI operation."""


class ReadingRoute(APIRoute):
    """A route whose handler is given what the readers of its parameters read, one after another.

    `openapi_extra` is what no reader says of the operation, in OpenAPI's own words; FastAPI's
    (`summary=`, `responses=`) aren't looked at. Raises TypeError for a parameter without a reader.
    """

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Awaitable[Response]],
        *,
        openapi_extra: dict[str, Any],
        **others: Any,
    ) -> None:
        readers = _readers(endpoint)
        steps = [(name, reader.read) for name, reader in readers.items()]

        async def handle(request: Request) -> Response:
            # One after the other: the first that fails is what is answered.
            return await endpoint(**{name: await read(request) for name, read in steps})

        handle.__name__, handle.__qualname__ = endpoint.__name__, endpoint.__qualname__
        described = operation(openapi_extra, *(reader.piece for reader in readers.values()))
        super().__init__(path, handle, **{**others, **described})


def _readers(endpoint: Callable[..., Awaitable[Response]]) -> dict[str, Reader[Any]]:
    """The readers of its parameters, in their order."""
    found: dict[str, Reader[Any]] = {}
    for name, parameter in signature(endpoint, eval_str=True).parameters.items():
        readers = [each for each in get_args(parameter.annotation) if isinstance(each, Reader)]
        if len(readers) != 1:
            raise TypeError(f"{endpoint.__qualname__}: {name} needs one Reader")
        found[name] = readers[0]
    return found


def from_app(name: str) -> Reader[Any]:
    """What the application was made with: `app.state.name`."""

    async def read(request: Request) -> Any:
        return getattr(request.app.state, name)

    return Reader(read)


TheSettings = Annotated[Settings, from_app("settings")]
TheDatabase = Annotated[Database, from_app("database")]


@dataclass(frozen=True, slots=True)
class Sent(Generic[Model]):
    """A JSON body: its bytes, and what they say."""

    raw: bytes
    fields: Model


def json_body(
    model: type[Model],
    *,
    example: Mapping[str, Any],
    malformed_member: str,
    accepted: Collection[str] = JSON,
) -> Reader[Sent[Model]]:
    """The body as a `Sent[model]`; the example of a malformed one breaks `malformed_member`.

    Raises unsupported-media-type, body-too-large, malformed-json and validation.

    Clauses: PROB-12, PROB-13, PROB-15, PROB-16.
    """

    async def read(request: Request) -> Sent[Model]:
        body = await read_body(request, accepted)
        return Sent(body, parse_body(model, parse_json(body)))

    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return Reader(
        read,
        {
            "requestBody": {"required": True, "content": content(schema, example, *accepted)},
            "x-problems": [
                unsupported_media_type(accepted),
                "body-too-large",
                "malformed-json",
                Problem("validation", [issue("pointer", f"#/{malformed_member}", "malformed")]),
            ],
        },
    )


def _condition(name: str, description: str) -> Reader[EntityTags | None]:
    """A conditional header field. Raises malformed-header. Clauses: PROB-14."""

    async def read(request: Request) -> EntityTags | None:
        return entity_tags(request, name)

    parameter = {
        "name": name,
        "in": "header",
        "description": description,
        "schema": {"type": "string"},
        "example": '"1"',
    }
    return Reader(read, {"parameters": [parameter], "x-problems": [malformed_header(name)]})


# For a change or a deletion of one user (COND-02, COND-14, COND-17).
IfMatch = Annotated[
    EntityTags | None,
    _condition("If-Match", "Only if one of these ETags, or `*`, is the user's (RFC 9110, 13.1.1)."),
]
# For a read of one user (COND-11, COND-14, COND-17).
IfNoneMatch = Annotated[
    EntityTags | None,
    _condition("If-None-Match", "Only if none of these ETags is the user's (RFC 9110, 13.1.2)."),
]


def id_in_path(name: str, description: str) -> Reader[int]:
    """An id in the path, which the route has as `name`. Raises validation. Clauses: PROB-08."""

    async def read(request: Request) -> int:
        return path_id(request.path_params[name], name)

    parameter = {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_INTEGER},
        "example": 1,
    }
    wrong = Problem("validation", [issue("parameter", name, "malformed")])
    return Reader(read, {"parameters": [parameter], "x-problems": [wrong]})


async def _client_address(request: Request) -> str:
    """Where the request comes from. Clauses: LIMIT-07."""
    settings: Settings = request.app.state.settings
    peer = request.client.host if request.client else ""
    forwarded = header(request.headers, "x-forwarded-for") or ""
    return client_address(peer, forwarded, settings.trusted_proxies)


ClientAddress = Annotated[str, Reader(_client_address)]
# Nothing is done for a request that doesn't come in whole (BODY-06, HTTP-26).
IgnoredBody = Annotated[None, Reader(read_to_end)]
