"""What the readers of the events' operations don't say of them in the OpenAPI document."""

from typing import Any

from python_api.events.schemas import TYPES
from python_api.http.openapi import content, headers
from python_api.http.pages import MAX_LIMIT
from python_api.http.requests import MAX_INTEGER
from python_api.users.docs import USER, USER_SCHEMA
from python_api.users.schemas import TIMESTAMP

DELETED_SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "minimum": 1, "maximum": MAX_INTEGER},
        "version": {"type": "integer", "minimum": 1, "maximum": MAX_INTEGER},
    },
    "required": ["id", "version"],
    "additionalProperties": False,
}
EVENT_SCHEMA = {
    "type": "object",
    "properties": {
        "specversion": {"type": "string", "enum": ["1.0"]},
        "id": {"type": "string", "pattern": "^[1-9][0-9]*$"},
        "source": {"type": "string", "enum": ["/users"]},
        "type": {"type": "string", "enum": [*TYPES]},
        "subject": {"type": "string", "pattern": "^/users/[1-9][0-9]*$"},
        "time": {"type": "string", "pattern": TIMESTAMP},
        "data": {"anyOf": [USER_SCHEMA, DELETED_SCHEMA]},
    },
    "required": ["specversion", "id", "source", "type", "subject", "time", "data"],
    "additionalProperties": False,
}
SCHEMAS = {"Event": EVENT_SCHEMA}

EVENT = {
    "specversion": "1.0",
    "id": "1",
    "source": "/users",
    "type": "user.created",
    "subject": "/users/1",
    "time": USER["created_at"],
    "data": USER,
}

LIST_EVENTS: dict[str, Any] = {
    "operationId": "listEvents",
    "summary": "List events",
    "description": "What happened to users (CloudEvents 1.0); `Link` leads to the next page.",
    "responses": {
        "200": {
            "description": "The events.",
            "headers": headers("Link"),
            "content": content(
                {
                    "type": "array",
                    "maxItems": MAX_LIMIT,
                    "items": {"$ref": "#/components/schemas/Event"},
                },
                [EVENT],
            ),
        },
    },
    "x-problems": ["events-gone"],
}
STREAM_EVENTS: dict[str, Any] = {
    "operationId": "streamEvents",
    "summary": "Follow events",
    "description": "Server-Sent Events, for `EventSource`: what happens to users, as it does.",
    "responses": {
        "200": {
            "description": "The stream, which begins with `retry` and the position as `id`.",
            "headers": headers("X-Accel-Buffering"),
            "content": content(
                {"type": "string"},
                'retry: 1000\nid: 40\n\nevent: user.deleted\ndata: {"specversion":"1.0", ...}\nid: 41\n\n',
                "text/event-stream",
            ),
        },
    },
    "x-problems": ["events-gone", "too-many-streams"],
}
FOLLOW_EVENTS: dict[str, Any] = {
    "operationId": "followEvents",
    "summary": "Follow events by WebSocket",
    "description": "WebSocket (RFC 6455) under the subprotocol `events.v1`: what happens to users, as it does.",
    "responses": {
        "101": {
            "description": "The socket is open.",
            "headers": {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}},
        },
    },
    "x-problems": ["too-many-streams"],
}
