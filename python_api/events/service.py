"""What is done with the log of events."""

from datetime import UTC, datetime

from python_api.auth.guard import Caller
from python_api.events import store
from python_api.events.pages import EventPage
from python_api.events.schemas import Event
from python_api.http.problems import Problem
from python_api.settings import Settings
from python_api.storage.database import Database


class Events:
    """The events of a database."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database

    async def list_page(self, caller: Caller | None, page: EventPage) -> list[Event]:
        """The events of a page that the caller may see, and one more if there is another page.

        Raises events-gone.

        Clauses: EVENT-13, EVENT-15, RIGHT-16.
        """
        user_id = caller.id if caller and not caller.is_admin else None
        await self._give_positions()
        async with self._database.connection() as connection:
            found = await store.list_events(connection, page, user_id)
            # Only now: what is forgotten while the page is read is missing in it.
            is_gone = (
                page.after is not None
                and not page.descending
                and page.after < await store.forgotten(connection)
            )
        if is_gone:
            raise Problem("events-gone")
        return found

    async def _give_positions(self) -> None:
        """See to it that every event that has been written has a position."""
        async with self._database.connection() as connection:
            waiting = await store.is_any_waiting(connection)
        if waiting:
            async with self._database.transaction() as connection:
                now = datetime.now(UTC)
                await store.give_positions(connection, now, self._settings.events_ttl)
