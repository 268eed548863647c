"""The routes of webhooks: HTTP only."""

from typing import Annotated

from fastapi import APIRouter, Response

from python_api.auth.guard import Admin
from python_api.http.readers import (
    IgnoredBody,
    ReadingRoute,
    Sent,
    from_app,
    id_in_path,
    json_body,
)
from python_api.webhooks import docs
from python_api.webhooks.pages import DeliveryPageQuery, next_link
from python_api.webhooks.schemas import (
    CreatedWebhookJson,
    DeliveriesJson,
    DeliveryJson,
    NewWebhook,
    WebhookJson,
    WebhooksJson,
)
from python_api.webhooks.service import Webhooks

router = APIRouter(route_class=ReadingRoute)

TheWebhooks = Annotated[Webhooks, from_app("webhooks")]
WebhookId = Annotated[int, id_in_path("id", "The webhook's id, in canonical decimal.")]
EventId = Annotated[int, id_in_path("event", "The event's id, in canonical decimal.")]
WholeWebhook = Annotated[
    Sent[NewWebhook], json_body(NewWebhook, example=docs.NEW_WEBHOOK, malformed_member="url")
]


@router.post("/webhooks", openapi_extra=docs.CREATE_WEBHOOK)
async def create_webhook(caller: Admin, sent: WholeWebhook, webhooks: TheWebhooks) -> Response:
    """Create a webhook; nobody is shown its secret again. Clauses: HOOK-01."""
    webhook = await webhooks.create(caller, sent.fields)
    headers = {"Location": f"/webhooks/{webhook.id}"}
    return _json(CreatedWebhookJson.dump_json(webhook), 201, headers)


@router.get("/webhooks", openapi_extra=docs.LIST_WEBHOOKS)
async def list_webhooks(_admin: Admin, webhooks: TheWebhooks) -> Response:
    """List all webhooks: a bare array. Clauses: HOOK-07."""
    return _json(WebhooksJson.dump_json(await webhooks.list_all()))


@router.get("/webhooks/{id}", openapi_extra=docs.GET_WEBHOOK)
async def get_webhook(_admin: Admin, webhook_id: WebhookId, webhooks: TheWebhooks) -> Response:
    """Get a webhook. Clauses: HOOK-07."""
    return _json(WebhookJson.dump_json(await webhooks.read(webhook_id)))


@router.delete("/webhooks/{id}", openapi_extra=docs.DELETE_WEBHOOK)
async def delete_webhook(
    caller: Admin, webhook_id: WebhookId, _body: IgnoredBody, webhooks: TheWebhooks
) -> Response:
    """Delete a webhook. Clauses: HOOK-08."""
    await webhooks.delete(caller, webhook_id)
    return Response(None, 204)


@router.get("/webhooks/{id}/deliveries", openapi_extra=docs.LIST_DELIVERIES)
async def list_deliveries(
    _admin: Admin, webhook_id: WebhookId, page: DeliveryPageQuery, webhooks: TheWebhooks
) -> Response:
    """List what is still to be sent: a bare array, with a link to the next page if there is one.

    Clauses: HOOK-19, HOOK-20.
    """
    found = await webhooks.list_deliveries(webhook_id, page)
    shown = found[: page.limit]
    has_more = len(found) > page.limit
    headers = {"Link": next_link(webhook_id, page, shown[-1].event)} if has_more else {}
    return _json(DeliveriesJson.dump_json(shown), headers=headers)


@router.post("/webhooks/{id}/deliveries/{event}", openapi_extra=docs.SEND_AGAIN)
async def send_delivery_again(
    caller: Admin,
    webhook_id: WebhookId,
    event: EventId,
    _body: IgnoredBody,
    webhooks: TheWebhooks,
) -> Response:
    """Send an event at once that is waiting or dead. Clauses: HOOK-21."""
    delivery = await webhooks.send_again(caller, webhook_id, event)
    return _json(DeliveryJson.dump_json(delivery), 202)


def _json(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, headers, media_type="application/json")
