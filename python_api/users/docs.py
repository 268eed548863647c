"""What the readers of the users' operations don't say of them in the OpenAPI document."""

from typing import Any

from python_api.http.openapi import content, headers, model_schema
from python_api.http.pages import MAX_LIMIT
from python_api.users.schemas import NewUser, User, UserChanges

SCHEMAS = {model.__name__: model_schema(model) for model in (NewUser, User, UserChanges)}

NEW_USER = {"name": "Ada Lovelace", "email": "ada@example.com"}
CHANGES = {"name": "Ada King"}
USER = {
    "id": 1,
    **NEW_USER,
    "role": "member",
    "created_at": "2026-11-23T01:02:03.456Z",
    "updated_at": "2026-11-23T01:02:03.456Z",
    "version": 1,
}

USER_SCHEMA = {"$ref": "#/components/schemas/User"}
USERS_SCHEMA = {"type": "array", "maxItems": MAX_LIMIT, "items": USER_SCHEMA}
ANSWERED = {
    "description": "The user.",
    "headers": headers("ETag"),
    "content": content(USER_SCHEMA, USER),
}
# Of a change; "overloaded" for its password.
NOT_CHANGED = ["user-not-found", "version-mismatch", "email-taken", "overloaded"]

CREATE_USER: dict[str, Any] = {
    "operationId": "createUser",
    "summary": "Create a user",
    "description": "The email must not be another user's, in any letter case.",
    "responses": {
        "201": {
            "description": "The user was created.",
            "headers": headers("ETag", "Idempotency-Replayed", "Location"),
            "content": content(USER_SCHEMA, USER),
        },
    },
    "x-problems": ["idempotency-key-reused", "too-many-registrations", "email-taken", "overloaded"],
}
LIST_USERS: dict[str, Any] = {
    "operationId": "listUsers",
    "summary": "List users",
    "description": "A page of users; `Link` leads to the next one.",
    "responses": {
        "200": {
            "description": "The users.",
            "headers": headers("Link"),
            "content": content(USERS_SCHEMA, [USER]),
        },
    },
}
GET_USER: dict[str, Any] = {
    "operationId": "getUser",
    "summary": "Get a user",
    "description": "With `If-None-Match`, only if it has changed.",
    "responses": {
        "200": ANSWERED,
        "304": {"description": "The user has not changed.", "headers": headers("ETag")},
    },
    "x-problems": ["user-not-found"],
}
REPLACE_USER: dict[str, Any] = {
    "operationId": "replaceUser",
    "summary": "Replace a user",
    "description": "Name and email, and what else is named; does not create a user.",
    "responses": {"200": ANSWERED},
    "x-problems": NOT_CHANGED,
}
PATCH_USER: dict[str, Any] = {
    "operationId": "patchUser",
    "summary": "Change a user",
    "description": "A JSON Merge Patch (RFC 7396); only a password can be removed.",
    "responses": {"200": ANSWERED},
    "x-problems": NOT_CHANGED,
}
DELETE_USER: dict[str, Any] = {
    "operationId": "deleteUser",
    "summary": "Delete a user",
    "description": "Its id is never used again.",
    "responses": {"204": {"description": "The user is gone.", "headers": headers()}},
    "x-problems": ["user-not-found", "version-mismatch"],
}
