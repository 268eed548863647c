"""Deliveries: events are sent to endpoints, by all processes of all services of the database.

Each process looks, again and again, for what is due, and claims some of it for as long as an attempt
may take; whoever dies meanwhile has left it to be claimed again. Each webhook has a courier in each
process, so that none waits for another's endpoint.
"""

import asyncio
import random
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

from standardwebhooks import Webhook as Signer

from python_api.events.schemas import to_json
from python_api.events.service import Events
from python_api.operation.observability import log, trace
from python_api.settings import Settings
from python_api.storage.database import Database, is_unavailable
from python_api.webhooks import store
from python_api.webhooks.endpoints import AttemptError, Client, Endpoint, parse_url
from python_api.webhooks.store import ActiveWebhook, Attempt

# How often there is a look for what is due.
LOOK_SECONDS = 0.25
# How long to wait while the database is unavailable.
AWAY_SECONDS = 0.5
# How many attempts for one webhook are under way at a time.
AT_ONCE = 10
# How much longer than it may take an attempt counts as under way, to be recorded meanwhile.
SPARE_SECONDS = 5
# How much longer than it has to a delivery waits, at most, as a part of that.
JITTER = 0.2
GONE = "410"


class Deliveries:
    """A process's share of the deliveries."""

    def __init__(self, settings: Settings, database: Database, events: Events) -> None:
        self._settings = settings
        self._database = database
        self._events = events
        self._client = Client(settings)
        self._stopping = asyncio.Event()
        self._couriers: dict[int, asyncio.Task[None]] = {}
        # How many attempts may begin: each needs a file.
        self._free = max(1, settings.max_connections // 2)

    def stop(self) -> None:
        """Begin no attempt any more. Clauses: HOOK-26."""
        self._stopping.set()

    async def run(self) -> None:
        """Deliver until told to stop; then what is under way gets a while to end.

        Clauses: HOOK-26.
        """
        looking = asyncio.create_task(self._look_on())
        await self._stopping.wait()
        ending = [looking, *self._couriers.values()]
        await asyncio.wait(ending, timeout=self._settings.shutdown_timeout)
        for task in ending:
            task.cancel()

    async def _look_on(self) -> None:
        """Look again and again. Clauses: HOOK-12, HOOK-18."""
        while not self._stopping.is_set():
            pause = LOOK_SECONDS
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001
                pause = AWAY_SECONDS
                self._tell(error)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def _look(self) -> None:
        """Give new events their deliveries, and what is due a courier; forget what is to go."""
        async with self._database.connection() as connection:
            webhooks = await store.list_active(connection)
        # Mostly there are none, and this is all.
        if not webhooks:
            return
        last = await self._events.last_position()
        for webhook in webhooks:
            if webhook.position < last:
                async with self._database.transaction() as connection:
                    await store.add_deliveries(connection, webhook.id, last, datetime.now(UTC))
        async with self._database.connection() as connection:
            is_any_forgotten = await store.is_any_forgotten(connection)
        if is_any_forgotten:
            async with self._database.transaction() as connection:
                await store.forget_deliveries(connection)
        async with self._database.connection() as connection:
            due = await store.list_due(connection, datetime.now(UTC))
        for webhook in webhooks:
            if webhook.id in due and webhook.id not in self._couriers:
                courier = asyncio.create_task(self._serve(webhook))
                self._couriers[webhook.id] = courier
                courier.add_done_callback(partial(self._forget, webhook.id))

    def _forget(self, webhook_id: int, courier: asyncio.Task[None]) -> None:
        del self._couriers[webhook_id]
        error = None if courier.cancelled() else courier.exception()
        if isinstance(error, Exception):
            self._tell(error)

    async def _serve(self, webhook: ActiveWebhook) -> None:
        """Attempt what is due for this webhook, some at a time, until there is nothing more.

        Each attempt that ends makes room for the next one: an endpoint that keeps one event waiting
        keeps no other one waiting.

        Clauses: HOOK-12, HOOK-15, HOOK-16.
        """
        endpoint = parse_url(webhook.url)
        assert endpoint
        under_way: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            while not self._stopping.is_set():
                attempts = await self._claim(webhook.id, AT_ONCE - len(under_way))
                if attempts:
                    # One lookup for all of them.
                    finding = asyncio.create_task(self._client.find_address(endpoint))
                    for attempt in attempts:
                        sending = self._send(webhook, endpoint, finding, attempt)
                        under_way.add(group.create_task(self._attempt(webhook, attempt, sending)))
                if not under_way:
                    return
                _, under_way = await asyncio.wait(
                    under_way, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )

    async def _claim(self, webhook_id: int, limit: int) -> Sequence[Attempt]:
        """Begin attempts of what is due for this webhook, so many at most. Never fails.

        Clauses: HOOK-16.
        """
        limit = min(limit, self._free)
        if limit == 0:
            return []
        attempts: Sequence[Attempt] = []
        self._free -= limit
        seconds = self._settings.webhooks_timeout + SPARE_SECONDS
        try:
            async with self._database.transaction() as connection:
                # Only here: SQLite may have let it wait.
                now = datetime.now(UTC)
                until = now + timedelta(seconds=seconds)
                if not self._stopping.is_set():
                    attempts = await store.claim(connection, webhook_id, limit, now, until)
        except Exception as error:  # noqa: BLE001
            # Of the commit, too.
            attempts = []
            self._tell(error)
        self._free += limit - len(attempts)
        return attempts

    async def _attempt(
        self, webhook: ActiveWebhook, attempt: Attempt, sending: Awaitable[str | None]
    ) -> None:
        """Have an event sent, and record what became of it, however long that takes. Never fails."""
        outcome = await sending
        self._free += 1
        while True:
            try:
                await self._record(webhook.id, attempt, outcome)
            except Exception as error:  # noqa: BLE001
                self._tell(error)
            else:
                return
            if self._stopping.is_set():
                return
            await asyncio.sleep(AWAY_SECONDS)

    async def _send(
        self,
        webhook: ActiveWebhook,
        endpoint: Endpoint,
        finding: asyncio.Task[str],
        attempt: Attempt,
    ) -> str | None:
        """Send an event; gives what became of it, None if it has arrived. Never fails.

        Clauses: HOOK-10, HOOK-11, HOOK-13.
        """
        event, body = str(attempt.event.position), to_json(attempt.event)
        # Whoever stood still for a while may not have all of it left.
        left = (attempt.until - datetime.now(UTC)).total_seconds() - SPARE_SECONDS
        try:
            async with asyncio.timeout(left):
                # The lookup is the others', too.
                address = await asyncio.shield(finding)
                now = datetime.now(UTC)
                fields = {
                    "Content-Type": "application/cloudevents+json",
                    "Content-Length": str(len(body.encode())),
                    "User-Agent": "users",
                    "Connection": "close",
                    "webhook-id": event,
                    "webhook-timestamp": str(int(now.timestamp())),
                    "webhook-signature": Signer(webhook.secret).sign(event, now, body),
                }
                status = await self._client.post(endpoint, address, fields, body)
        except TimeoutError:
            return "timeout"
        except AttemptError as error:
            return str(error)
        # A failed attempt, too: else it would be made again and again, and never be the last.
        except Exception as error:  # noqa: BLE001
            self._tell(error)
            return "unreachable"
        return None if 200 <= status < 300 else str(status)

    async def _record(self, webhook_id: int, attempt: Attempt, outcome: str | None) -> None:
        """Clauses: HOOK-13, HOOK-14, HOOK-17, HOOK-27."""
        now = datetime.now(UTC)
        if outcome is None:
            async with self._database.transaction() as connection:
                await store.finish(connection, webhook_id, attempt, now)
        elif outcome == GONE:
            async with self._database.transaction() as connection:
                has_ended = await store.end_webhook(connection, webhook_id, now)
            if has_ended:
                log("error", "webhook ended", webhook=webhook_id)
        else:
            event, due_at = str(attempt.event.position), self._next(attempt.number, now)
            async with self._database.transaction() as connection:
                if due_at:
                    await store.postpone(connection, webhook_id, attempt, outcome, due_at)
                    return
                is_dead = await store.let_die(connection, webhook_id, attempt, outcome, now)
            if is_dead:
                log("error", "delivery died", webhook=webhook_id, event=event, outcome=outcome)

    def _next(self, attempts: int, now: datetime) -> datetime | None:
        """When the attempt after so many is due; None if there is none. Clauses: HOOK-14."""
        waits = self._settings.webhooks_retry
        if attempts > len(waits):
            return None
        longer = random.uniform(1, 1 + JITTER)  # noqa: S311 (nobody has to be unable to guess it)
        return now + timedelta(seconds=waits[attempts - 1] * longer)

    def _tell(self, error: Exception) -> None:
        if not is_unavailable(error):
            log("error", "events cannot be delivered", error=trace(error))
