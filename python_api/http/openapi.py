"""The OpenAPI document (3.1): made from the routes that the application serves.

A route brings its operation along; what several operations share stands here.
"""

from collections.abc import Mapping, Sequence, Set as AbstractSet
from copy import deepcopy
from typing import Any, TypedDict, cast

from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import WithDefaultSchema

from python_api.http.problems import CATALOGUE, MAX_ERRORS, RULES, Problem
from python_api.http.requests import ACCEPT_PATCH
from python_api.operation.observability import REQUEST_ID
from python_api.settings import Settings

INFO: dict[str, Any] = {
    "title": "Users",
    "version": "1.0.0",
    "description": "A users service of two implementations that no client can tell apart. "
    "`HEAD` works wherever `GET` does, `OPTIONS` tells the methods of a path.",
}

HEADERS: dict[str, dict[str, Any]] = {
    "Accept-Patch": {
        "description": "The media types of a `PATCH` (RFC 5789, 3.1).",
        "required": True,
        "schema": {"type": "string", "enum": [ACCEPT_PATCH]},
    },
    "Cache-Control": {
        "description": "`no-cache` with an `ETag`, else `no-store`.",
        "required": True,
        "schema": {"type": "string", "enum": ["no-cache", "no-store"]},
    },
    "ETag": {
        "description": "The user's version, quoted (RFC 9110, 8.8.3).",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[1-9][0-9]*"$'},
        "example": '"1"',
    },
    "Idempotency-Replayed": {
        "description": "There when an earlier answer to the same `Idempotency-Key` is given again.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "Link": {
        "description": 'The next page, with `rel="next"` (RFC 8288); absent on the last one.',
        "schema": {"type": "string"},
        "example": '</users?limit=2&sort=id&cursor=WyJpZCIsbnVsbCwyLDJd>; rel="next"',
    },
    "Location": {
        "description": "The path of what was created.",
        "required": True,
        "schema": {"type": "string", "pattern": "^/(users|webhooks)/[1-9][0-9]*$"},
        "example": "/users/1",
    },
    "Retry-After": {
        "description": "Seconds to wait before another try.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[1-9][0-9]*$"},
        "example": "1",
    },
    "Sec-WebSocket-Version": {
        "description": "The version of the protocol (RFC 6455, 4.4).",
        "required": True,
        "schema": {"type": "string", "enum": ["13"]},
    },
    "Upgrade": {
        "description": "The protocol to ask for (RFC 9110, 15.5.22).",
        "required": True,
        "schema": {"type": "string", "enum": ["websocket"]},
    },
    "WWW-Authenticate": {
        "description": "What is asked for, and what is wrong with what was sent (RFC 6750, 3).",
        "required": True,
        "schema": {"type": "string", "pattern": '^Bearer realm="users"'},
        "example": 'Bearer realm="users", error="invalid_token"',
    },
    "X-Accel-Buffering": {
        "description": "Has a gateway pass on at once what comes.",
        "required": True,
        "schema": {"type": "string", "enum": ["no"]},
    },
    "X-Content-Type-Options": {
        "description": "The body is what its Content-Type says.",
        "required": True,
        "schema": {"type": "string", "enum": ["nosniff"]},
    },
    "X-Request-Id": {
        "description": "The request's own `X-Request-Id`, if it was valid, or a new UUID.",
        "required": True,
        "schema": {"type": "string", "pattern": f"^{REQUEST_ID.pattern}$"},
        "example": "3f0e7c1a-6a55-4c39-9d4b-0d6b1f8f3c52",
    },
}
COMMON = ("Cache-Control", "X-Content-Type-Options", "X-Request-Id")

SENT_REQUEST_ID = {
    "name": "X-Request-Id",
    "in": "header",
    "description": "Given back with the answer, if it is 1 to 128 of `A-Za-z0-9._-`.",
    "schema": {"type": "string"},
    "example": "3f0e7c1a-6a55-4c39-9d4b-0d6b1f8f3c52",
}

BEARER = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "A token of `POST /auth/token`, or of the provider that gives them in its place.",
}
# Of an operation that needs a token, and of one that may have one.
SECURED: list[dict[str, list[str]]] = [{"bearer": []}]
OPTIONAL: list[dict[str, list[str]]] = [{}, {"bearer": []}]

PROBLEM_SCHEMA = {
    "type": "object",
    "description": "A problem (RFC 9457).",
    "properties": {
        "type": {"type": "string", "enum": [f"/problems/{code}" for code in CATALOGUE]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "maxItems": MAX_ERRORS,
            "items": {"$ref": "#/components/schemas/Error"},
        },
    },
    "required": ["type", "title", "status", "detail"],
    "additionalProperties": False,
}
ERROR_SCHEMA = {
    "type": "object",
    "description": "One broken rule: at a member (pointer), a parameter or a header field.",
    "properties": {
        "pointer": {"type": "string"},
        "parameter": {"type": "string"},
        "header": {"type": "string"},
        "code": {"type": "string", "enum": list(RULES)},
        "detail": {"type": "string"},
    },
    "required": ["code", "detail"],
    "additionalProperties": False,
}
STATUS_SCHEMA = {
    "type": "object",
    "properties": {"status": {"type": "string", "enum": ["ok"]}},
    "required": ["status"],
    "additionalProperties": False,
}

# Problems that any request may be answered with.
ALWAYS = ("bad-request", "headers-too-large", "internal")


# What a reader adds to an OpenAPI operation.
Piece = TypedDict(
    "Piece",
    {
        "security": list[dict[str, list[str]]],
        "parameters": list[dict[str, Any]],
        "requestBody": dict[str, Any],
        # The problems that it raises, by their codes or with what they carry.
        "x-problems": Sequence[str | Problem],
    },
    total=False,
)


class _PlainSchema(GenerateJsonSchema):
    """pydantic's generator, without the titles that it makes of names, and without defaults."""

    def field_title_should_be_set(self, _schema: object) -> bool:
        return False

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])


def model_schema(model: type) -> dict[str, Any]:
    """The model's JSON Schema. Clauses: DOC-02."""
    schema = TypeAdapter(model).json_schema(schema_generator=_PlainSchema)
    return {name: value for name, value in schema.items() if name not in ("title", "description")}


def headers(*names: str) -> dict[str, Any]:
    """The header fields of a response: those of every response, and those named."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*COMMON, *names)}


def content(schema: Mapping[str, Any], example: object, *media_types: str) -> dict[str, Any]:
    """The content of a body, by default JSON: its schema and an example."""
    names = sorted(media_types) or ["application/json"]
    return {name: {"schema": schema, "example": example} for name in names}


def _problems(*possible: str | Problem) -> dict[str, Any]:
    """The responses, by status, that tell of these problems or of those that are always possible.

    A problem is given by its code, or with issues for the example and with header fields.

    Clauses: DOC-04.
    """
    responses: dict[str, Any] = {}
    given = [Problem(each) if isinstance(each, str) else each for each in (*ALWAYS, *possible)]
    by_code = {problem.code: problem for problem in given}
    for code, (status, title, detail) in CATALOGUE.items():
        if code not in by_code:
            continue
        problem = by_code[code]
        fields = headers(*problem.headers)
        response = responses.setdefault(
            str(status),
            {
                "description": "A problem.",
                "headers": fields,
                "content": {
                    "application/problem+json": {
                        "schema": {"$ref": "#/components/schemas/Problem"},
                        "examples": {},
                    }
                },
            },
        )
        # Those that all of them have.
        response["headers"] = {name: fields[name] for name in response["headers"] if name in fields}
        example = {"type": f"/problems/{code}", "title": title, "status": status, "detail": detail}
        if problem.issues:
            example["errors"] = problem.issues
        examples = response["content"]["application/problem+json"]["examples"]
        examples[code] = {"summary": title, "value": example}
    return responses


def operation(described: Mapping[str, Any], *pieces: Piece) -> dict[str, Any]:
    """An OpenAPI operation and what its readers add to it, in the words of FastAPI's decorators.

    Parameters and problems are joined, the readers' first; the problems become responses.

    Clauses: DOC-05.
    """
    whole: dict[str, Any] = {"parameters": [], "x-problems": []}
    for piece in (*pieces, described, {"parameters": [SENT_REQUEST_ID]}):
        for name, value in piece.items():
            is_joined = name in ("parameters", "x-problems")
            whole[name] = [*whole[name], *cast(Any, value)] if is_joined else value
    responses = _problems(*whole["x-problems"])
    for status, response in described["responses"].items():
        # One that isn't a problem, beside those that are.
        also = responses.get(status, {}).get("content", {})
        both = {"content": {**response["content"], **also}} if also else {}
        responses[status] = {**responses.get(status, {}), **response, **both}
    return {
        "operation_id": whole["operationId"],
        "summary": whole["summary"],
        "description": whole["description"],
        "status_code": int(next(iter(described["responses"]))),
        "responses": responses,
        "openapi_extra": {
            name: whole[name] for name in ("parameters", "requestBody", "security") if name in whole
        },
        "response_class": Response,
    }


def openapi_document(app: FastAPI, schemas: Mapping[str, Any]) -> dict[str, Any]:
    """The document of the routes that `app` serves now, with the features' `schemas`.

    Clauses: DOC-02, DOC-03, DOC-05.
    """
    document = get_openapi(**INFO, routes=app.routes)
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            _restore(document["paths"][route.path], route)
    document["components"] = {
        "schemas": {
            "Error": ERROR_SCHEMA,
            "Problem": PROBLEM_SCHEMA,
            "Status": STATUS_SCHEMA,
            **schemas,
        },
        "headers": HEADERS,
        "securitySchemes": {"bearer": BEARER},
    }
    return document


def _restore(methods: dict[str, Any], route: APIRoute) -> None:
    """Put the route's own answers back, of whose examples FastAPI drops what is null."""
    for method in route.methods or ():
        responses = methods[method.lower()]["responses"]
        responses.update(
            {status: {**responses[status], **given} for status, given in route.responses.items()}
        )


def as_it_runs(document: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """The document without what only a service of other settings answers or asks for.

    Clauses: AUTH-15, DOC-11, DOC-12, RIGHT-09.
    """
    # The routes' own descriptions are in it, and they stay as they are.
    document = deepcopy(document)
    of_provider = settings.auth and bool(settings.auth_jwks_url)
    of_tokens = {"unauthorized", "forbidden", "too-many-registrations"}
    left_out: set[str] = set() if settings.auth else of_tokens
    left_out |= set() if of_provider else {"provider-unavailable"}
    for methods in document["paths"].values():
        for described in methods.values():
            _leave_out(described["responses"], left_out)
            if not settings.auth:
                described.pop("security", None)
                _leave_out_me(described.get("parameters", []))
    if not settings.auth:
        del document["components"]["securitySchemes"]
        del document["components"]["headers"]["WWW-Authenticate"]
    elif not settings.registration:
        document["paths"]["/users"]["post"]["security"] = SECURED
    if of_provider or not settings.auth:
        described = document["paths"]["/auth/token"]["post"]
        described["description"] = "This service gives no tokens."
        _leave_out(described["responses"], {"too-many-failures", "unavailable", "overloaded"})
        del described["responses"]["200"]
    return document


def _leave_out(responses: dict[str, Any], codes: AbstractSet[str]) -> None:
    """Without these problems, and the responses that tell of nothing else."""
    for status, response in [*responses.items()]:
        problem = response.get("content", {}).get("application/problem+json", {"examples": {}})
        if problem["examples"].keys() & codes:
            rest = {code: one for code, one in problem["examples"].items() if code not in codes}
            problem["examples"] = rest
            if not rest:
                del responses[status]


def _leave_out_me(parameters: Sequence[dict[str, Any]]) -> None:
    """Without `me` for an id: there is no caller (AUTH-16)."""
    for parameter in parameters:
        if "anyOf" in parameter["schema"]:
            parameter["schema"] = parameter["schema"]["anyOf"][0]
