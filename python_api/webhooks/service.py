"""What is done with webhooks, but for the sending: each write is one transaction."""

import secrets
from base64 import b64encode
from datetime import UTC, datetime

from python_api.auth.guard import Caller, Guard
from python_api.events import store as events_store
from python_api.events.schemas import TYPES
from python_api.http.addresses import parse_address
from python_api.http.problems import Problem, issue
from python_api.settings import Settings
from python_api.storage.database import Database
from python_api.webhooks import store
from python_api.webhooks.endpoints import parse_url
from python_api.webhooks.networks import may_call
from python_api.webhooks.pages import DeliveryPage
from python_api.webhooks.schemas import CreatedWebhook, Delivery, NewWebhook, Webhook

MAX_WEBHOOKS = 50
SECRET_BYTES = 32


class Webhooks:
    """The webhooks of a database."""

    def __init__(self, settings: Settings, database: Database, guard: Guard) -> None:
        self._settings = settings
        self._database = database
        self._guard = guard

    async def create(self, caller: Caller | None, sent: NewWebhook) -> CreatedWebhook:
        """Create a webhook of the events from now on.

        Raises validation, unauthorized, forbidden and too-many-webhooks.

        Clauses: HOOK-01, HOOK-02, HOOK-06, HOOK-09.
        """
        self._check_address(sent.url)
        types = sent.types or TYPES
        secret = f"whsec_{b64encode(secrets.token_bytes(SECRET_BYTES)).decode('ascii')}"
        now = datetime.now(UTC)
        async with self._database.transaction() as connection:
            await self._guard.confirm(connection, caller)
            # Holds back other creations until this one is done.
            await events_store.give_positions(connection, now, self._settings.events_ttl)
            if await store.count_webhooks(connection) >= MAX_WEBHOOKS:
                raise Problem("too-many-webhooks")
            webhook = await store.create_webhook(connection, sent.url, types, secret, now)
        return CreatedWebhook(
            webhook.id, webhook.url, webhook.types, webhook.created_at, webhook.ended_at, secret
        )

    async def list_all(self) -> list[Webhook]:
        """All webhooks. Clauses: HOOK-07."""
        async with self._database.connection() as connection:
            return await store.list_webhooks(connection)

    async def read(self, webhook_id: int) -> Webhook:
        """The webhook. Raises webhook-not-found. Clauses: HOOK-07."""
        async with self._database.connection() as connection:
            return _existing(await store.read_webhook(connection, webhook_id))

    async def delete(self, caller: Caller | None, webhook_id: int) -> None:
        """Delete the webhook. Raises unauthorized, forbidden and webhook-not-found.

        Clauses: HOOK-08.
        """
        async with self._database.transaction() as connection:
            await self._guard.confirm(connection, caller)
            if not await store.delete_webhook(connection, webhook_id):
                raise Problem("webhook-not-found")

    async def list_deliveries(self, webhook_id: int, page: DeliveryPage) -> list[Delivery]:
        """The deliveries of a page, and one more if there is another page.

        Raises webhook-not-found.

        Clauses: HOOK-07, HOOK-19, HOOK-25.
        """
        async with self._database.connection() as connection:
            _existing(await store.read_webhook(connection, webhook_id))
            after = max(page.after, await events_store.forgotten(connection))
            return await store.list_deliveries(connection, webhook_id, page.limit + 1, after)

    async def send_again(self, caller: Caller | None, webhook_id: int, event: int) -> Delivery:
        """Make the event's delivery due at once.

        Raises unauthorized, forbidden, webhook-not-found and delivery-not-found.

        Clauses: HOOK-21, HOOK-25.
        """
        async with self._database.transaction() as connection:
            await self._guard.confirm(connection, caller)
            # Else what is added meanwhile would wait for the time that the event had before.
            _existing(await store.hold_webhook(connection, webhook_id))
            if event > await events_store.forgotten(connection):
                delivery = await store.make_due(connection, webhook_id, event, datetime.now(UTC))
                if delivery:
                    return delivery
        raise Problem("delivery-not-found")

    def _check_address(self, url: str) -> None:
        """Refuse what could never be called; where a name leads is judged when it is called.

        Clauses: HOOK-06.
        """
        endpoint = parse_url(url)
        assert endpoint
        allowed = self._settings.webhooks_networks
        if parse_address(endpoint.host):
            is_callable = may_call(endpoint.host, allowed, is_secure=endpoint.is_secure)
        else:
            is_callable = endpoint.is_secure or bool(allowed)
        if not is_callable:
            raise Problem("validation", [issue("pointer", "#/url", "forbidden")])


def _existing(webhook: Webhook | None) -> Webhook:
    """The webhook. Raises webhook-not-found where there is none."""
    if webhook is None:
        raise Problem("webhook-not-found")
    return webhook
