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
        await self._give_positions()
        async with self._database.connection() as connection:
            found = await store.list_events(
                connection,
                limit=page.limit + 1,
                after=page.after,
                descending=page.descending,
                user_id=_only_of(caller),
            )
        # Only now: what is forgotten while the page is read is missing in it.
        if page.after is not None and not page.descending:
            await self.check_kept(page.after)
        return found

    async def list_behind(
        self, position: int, limit: int, caller: Caller | None = None
    ) -> list[Event]:
        """The next events behind the position, of those that the caller may see."""
        await self._give_positions()
        async with self._database.connection() as connection:
            return await store.list_events(
                connection, limit=limit, after=position, user_id=_only_of(caller)
            )

    async def last_position(self) -> int:
        """The position of the newest event; 0 if there never was one."""
        await self._give_positions()
        async with self._database.connection() as connection:
            return await store.last_position(connection)

    async def check_kept(self, position: int) -> None:
        """Raise events-gone where an event behind the position was forgotten. Clauses: EVENT-15."""
        async with self._database.connection() as connection:
            if position < await store.forgotten(connection):
                raise Problem("events-gone")

    async def _give_positions(self) -> None:
        """See to it that every event that has been written has a position."""
        async with self._database.connection() as connection:
            waiting = await store.is_any_waiting(connection)
        if waiting:
            async with self._database.transaction() as connection:
                now = datetime.now(UTC)
                await store.give_positions(connection, now, self._settings.events_ttl)


def may_see(caller: Caller | None, event: Event) -> bool:
    """Whether the caller may see this event. Clauses: RIGHT-16."""
    only = _only_of(caller)
    return only is None or only == event.user_id


def _only_of(caller: Caller | None) -> int | None:
    """The user whose events alone the caller may see; None for all. Clauses: RIGHT-16."""
    return caller.id if caller and not caller.is_admin else None
