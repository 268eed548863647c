"""The users' operations, as the OpenAPI document describes them."""

from typing import Any

from python_api.openapi import (
    OPTIONAL,
    REQUEST_ID,
    SECURED,
    content,
    headers,
    model_schema,
    problems,
)
from python_api.problems import Problem, issue
from python_api.requests import MAX_INTEGER
from python_api.users.pages import MAX_LIMIT, SORTS
from python_api.users.schemas import TEXT_PATTERN, NewUser, User, UserChanges

SCHEMAS = {model.__name__: model_schema(model) for model in (NewUser, User, UserChanges)}

NEW_USER = {"name": "Ada Lovelace", "email": "ada@example.com"}
USER = {
    "id": 1,
    **NEW_USER,
    "role": "member",
    "created_at": "2026-11-23T01:02:03.456Z",
    "updated_at": "2026-11-23T01:02:03.456Z",
    "version": 1,
}

ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The user's id, in canonical decimal.",
    "schema": {
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": MAX_INTEGER},
            {"type": "string", "enum": ["me"], "description": "The token's owner."},
        ]
    },
    "example": 1,
}
LIMIT = {
    "name": "limit",
    "in": "query",
    "description": "How many users a page has at most.",
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 50},
}
SORT = {
    "name": "sort",
    "in": "query",
    "description": "The order, `-` for descending; text by code point, ties by ascending id.",
    "schema": {
        "type": "string",
        "enum": [*SORTS, *(f"-{sort}" for sort in SORTS)],
        "default": "id",
    },
}
Q = {
    "name": "q",
    "in": "query",
    "description": "Only users whose name or email contains this, compared in lower case.",
    "schema": {"type": "string", "pattern": TEXT_PATTERN},
    "example": "ada",
}
CURSOR = {
    "name": "cursor",
    "in": "query",
    "description": "Where the page begins: opaque, from the `Link` of the page before.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"},
}
IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "description": "Only if one of these ETags, or `*`, is the user's (RFC 9110, 13.1.1).",
    "schema": {"type": "string"},
    "example": '"1"',
}
IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "description": "Only if none of these ETags is the user's (RFC 9110, 13.1.2).",
    "schema": {"type": "string"},
    "example": '"1"',
}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The first 201 to this key is given again to the same body for a while.",
    "schema": {"type": "string", "pattern": "^[!-~]{0,254}[!-+\\--~]$"},
    "example": "9f1c6f0e-0b0a-4c55-8f6e-6a1f4f0c2f37",
}

NEW_USER_SCHEMA = {"$ref": "#/components/schemas/NewUser"}
USER_SCHEMA = {"$ref": "#/components/schemas/User"}
CHANGES_SCHEMA = {"$ref": "#/components/schemas/UserChanges"}

ANSWERED = {
    "description": "The user.",
    "headers": headers("ETag"),
    "content": content(USER_SCHEMA, USER),
}
# What the guard and the database have to say.
GUARDED = ("unauthorized", "forbidden", "unavailable", "provider-unavailable")
WRONG_ID = Problem("validation", [issue("parameter", "id", "malformed")])
WRONG_BODY = (
    "unsupported-media-type",
    "body-too-large",
    "malformed-json",
    Problem("validation", [issue("pointer", "#/email", "malformed")]),
    # For its password.
    "overloaded",
)

# DOC-04
CREATE_USER: dict[str, Any] = {
    "operationId": "createUser",
    "summary": "Create a user",
    "description": "The email must not be another user's, in any letter case.",
    "security": OPTIONAL,
    "parameters": [IDEMPOTENCY_KEY, REQUEST_ID],
    "requestBody": {"required": True, "content": content(NEW_USER_SCHEMA, NEW_USER)},
    "responses": {
        "201": {
            "description": "The user was created.",
            "headers": headers("ETag", "Idempotency-Replayed", "Location"),
            "content": content(USER_SCHEMA, USER),
        },
        **problems(
            *WRONG_BODY,
            Problem("malformed-header", [issue("header", "Idempotency-Key", "malformed")]),
            "idempotency-key-reused",
            "too-many-registrations",
            "email-taken",
            *GUARDED,
        ),
    },
}
LIST_USERS: dict[str, Any] = {
    "operationId": "listUsers",
    "summary": "List users",
    "description": "A page of users; `Link` leads to the next one.",
    "security": SECURED,
    "parameters": [LIMIT, SORT, Q, CURSOR, REQUEST_ID],
    "responses": {
        "200": {
            "description": "The users.",
            "headers": headers("Link"),
            "content": content(
                {"type": "array", "maxItems": MAX_LIMIT, "items": USER_SCHEMA}, [USER]
            ),
        },
        **problems(
            "malformed-query",
            Problem("validation", [issue("parameter", "limit", "malformed")]),
            *GUARDED,
        ),
    },
}
GET_USER: dict[str, Any] = {
    "operationId": "getUser",
    "summary": "Get a user",
    "description": "With `If-None-Match`, only if it has changed.",
    "security": SECURED,
    "parameters": [ID, IF_NONE_MATCH, REQUEST_ID],
    "responses": {
        "200": ANSWERED,
        "304": {"description": "The user has not changed.", "headers": headers("ETag")},
        **problems(
            Problem("malformed-header", [issue("header", "If-None-Match", "malformed")]),
            WRONG_ID,
            "user-not-found",
            *GUARDED,
        ),
    },
}
WRONG_IF_MATCH = Problem("malformed-header", [issue("header", "If-Match", "malformed")])
CHANGE = (*WRONG_BODY, WRONG_IF_MATCH, "user-not-found", "version-mismatch", "email-taken")
REPLACE_USER: dict[str, Any] = {
    "operationId": "replaceUser",
    "summary": "Replace a user",
    "description": "Name and email, and what else is named; does not create a user.",
    "security": SECURED,
    "parameters": [ID, IF_MATCH, REQUEST_ID],
    "requestBody": {"required": True, "content": content(NEW_USER_SCHEMA, NEW_USER)},
    "responses": {"200": ANSWERED, **problems(*CHANGE, *GUARDED)},
}
NOT_CHANGED = problems(*CHANGE, *GUARDED)
PATCH_USER: dict[str, Any] = {
    "operationId": "patchUser",
    "summary": "Change a user",
    "description": "A JSON Merge Patch (RFC 7396); only a password can be removed.",
    "security": SECURED,
    "parameters": [ID, IF_MATCH, REQUEST_ID],
    "requestBody": {
        "required": True,
        "content": {
            **content(CHANGES_SCHEMA, {"name": "Ada King"}, "application/merge-patch+json"),
            **content(CHANGES_SCHEMA, {"name": "Ada King"}),
        },
    },
    "responses": {
        "200": ANSWERED,
        **NOT_CHANGED,
        # ROUTE-17
        "415": {**NOT_CHANGED["415"], "headers": headers("Accept-Patch")},
    },
}
DELETE_USER: dict[str, Any] = {
    "operationId": "deleteUser",
    "summary": "Delete a user",
    "description": "Its id is never used again.",
    "security": SECURED,
    "parameters": [ID, IF_MATCH, REQUEST_ID],
    "responses": {
        "204": {"description": "The user is gone.", "headers": headers()},
        **problems(WRONG_IF_MATCH, WRONG_ID, "user-not-found", "version-mismatch", *GUARDED),
    },
}
