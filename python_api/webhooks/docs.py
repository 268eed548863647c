"""What the readers of the webhooks' operations don't say of them in the OpenAPI document."""

from typing import Any

from python_api.events.schemas import TYPES
from python_api.http.openapi import content, headers, model_schema
from python_api.http.pages import MAX_LIMIT
from python_api.webhooks.schemas import CreatedWebhook, Delivery, NewWebhook, Webhook

SCHEMAS = {
    model.__name__: model_schema(model) for model in (NewWebhook, Webhook, CreatedWebhook, Delivery)
}

NEW_WEBHOOK = {"url": "https://example.com/hooks/users"}
WEBHOOK = {
    "id": 1,
    **NEW_WEBHOOK,
    "types": [*TYPES],
    "created_at": "2026-11-23T01:02:03.456Z",
    "ended_at": None,
}
CREATED_WEBHOOK = {**WEBHOOK, "secret": f"whsec_{'A' * 43}="}
DELIVERY = {
    "event": "41",
    "status": "waiting",
    "attempts": 1,
    "outcome": "503",
    "due_at": "2026-11-23T01:02:08.456Z",
}
WEBHOOK_SCHEMA = {"$ref": "#/components/schemas/Webhook"}
DELIVERY_SCHEMA = {"$ref": "#/components/schemas/Delivery"}

CREATE_WEBHOOK: dict[str, Any] = {
    "operationId": "createWebhook",
    "summary": "Create a webhook",
    "description": "Events from now on are sent to the URL (Standard Webhooks).",
    "responses": {
        "201": {
            "description": "The webhook was created. Its secret is shown this once.",
            "headers": headers("Location"),
            "content": content({"$ref": "#/components/schemas/CreatedWebhook"}, CREATED_WEBHOOK),
        },
    },
    "x-problems": ["too-many-webhooks"],
}
LIST_WEBHOOKS: dict[str, Any] = {
    "operationId": "listWebhooks",
    "summary": "List webhooks",
    "description": "All of them.",
    "responses": {
        "200": {
            "description": "The webhooks.",
            "headers": headers(),
            "content": content(
                {"type": "array", "maxItems": 50, "items": WEBHOOK_SCHEMA}, [WEBHOOK]
            ),
        },
    },
}
GET_WEBHOOK: dict[str, Any] = {
    "operationId": "getWebhook",
    "summary": "Get a webhook",
    "description": "Without its secret.",
    "responses": {
        "200": {
            "description": "The webhook.",
            "headers": headers(),
            "content": content(WEBHOOK_SCHEMA, WEBHOOK),
        },
    },
    "x-problems": ["webhook-not-found"],
}
DELETE_WEBHOOK: dict[str, Any] = {
    "operationId": "deleteWebhook",
    "summary": "Delete a webhook",
    "description": "Nothing more is sent, not even what waits.",
    "responses": {"204": {"description": "The webhook is gone.", "headers": headers()}},
    "x-problems": ["webhook-not-found"],
}
LIST_DELIVERIES: dict[str, Any] = {
    "operationId": "listDeliveries",
    "summary": "List deliveries",
    "description": "A page of what is still to be sent, or could not be; `Link` leads to the next one.",
    "responses": {
        "200": {
            "description": "The deliveries.",
            "headers": headers("Link"),
            "content": content(
                {"type": "array", "maxItems": MAX_LIMIT, "items": DELIVERY_SCHEMA}, [DELIVERY]
            ),
        },
    },
    "x-problems": ["webhook-not-found"],
}
SEND_AGAIN: dict[str, Any] = {
    "operationId": "sendDeliveryAgain",
    "summary": "Send an event again",
    "description": "One that is waiting, or could not be delivered, is sent at once.",
    "responses": {
        "202": {
            "description": "The delivery, which is waiting.",
            "headers": headers(),
            "content": content(DELIVERY_SCHEMA, DELIVERY),
        },
    },
    "x-problems": ["webhook-not-found", "delivery-not-found"],
}
