"""The feed: new events, for all who follow them in a process.

One task reads new events for all followers, and keeps the last of them, so that whoever is up to
date doesn't ask the database. One that lags behind reads a page of older events, when its client
has taken the page before.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from itertools import islice

from anyio import CancelScope

from python_api.auth.guard import Caller, Guard, unauthorized
from python_api.events.schemas import Event
from python_api.events.service import Events, may_see
from python_api.http.problems import Problem
from python_api.operation.observability import log, trace
from python_api.settings import Settings
from python_api.storage.database import is_unavailable

# How often there is a look for new events, while somebody follows.
LOOK_SECONDS = 0.02
# How long to wait while the database is unavailable.
AWAY_SECONDS = 0.5
# How many events are kept for the followers, and given at once.
RECENT = 200
PAGE = 100


class Follower:
    """Somebody who follows: as whom, and how far they have come."""

    def __init__(self, caller: Caller | None, position: int, beat: float) -> None:
        self.caller = caller
        self.position = position
        self.beat = beat
        """When the next heartbeat is due (the loop's time, in seconds)."""
        self.is_interrupted = False
        self._woken = asyncio.Event()

    def interrupt(self) -> None:
        """End the pages under way, and those that are asked for meanwhile."""
        self.is_interrupted = True
        self.wake()

    def wake(self) -> None:
        """End the wait: there is something new."""
        self._woken.set()

    async def wait(self, seconds: float) -> None:
        """Wait for so long, unless there has been something new since the last wait."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), seconds)
        self._woken.clear()


class Feed:
    """The events of a process's followers."""

    def __init__(self, settings: Settings, events: Events, guard: Guard) -> None:
        """A feed of these events; connections are left for whoever asks for something else."""
        self._settings = settings
        self._events = events
        self._guard = guard
        self._most = max(1, min(settings.events_streams, settings.max_connections // 2))
        self._stopping = asyncio.Event()
        self._followers: set[Follower] = set()
        self._recent: deque[Event] = deque(maxlen=RECENT)
        # The position up to which there was a look.
        self._seen = 0
        self._looking: asyncio.Task[None] | None = None

    @property
    def stopping(self) -> bool:
        """Whether the service stops."""
        return self._stopping.is_set()

    def join(self, caller: Caller | None, position: int = 0) -> Follower:
        """Somebody who follows, behind this position. Raises too-many-streams. Clauses: STREAM-08."""
        if len(self._followers) >= self._most:
            raise Problem("too-many-streams")
        follower = Follower(caller, position, self._next_beat())
        self._followers.add(follower)
        return follower

    def leave(self, follower: Follower) -> None:
        """Count a follower no more. Clauses: STREAM-08."""
        self._followers.discard(follower)

    def stop(self) -> None:
        """End all pages under way. Clauses: SOCK-18, STREAM-10."""
        self._stopping.set()
        self._tell()

    async def begin(self, after: int | None) -> int:
        """The position behind which to follow: `after`, or the last there is.

        Raises events-gone.

        Clauses: SOCK-08, SOCK-17, STREAM-03, STREAM-04.
        """
        position = await self._events.last_position()
        if after is not None:
            await self._events.check_kept(after)
        if self._looking is None or self._looking.done():
            self._recent.clear()
            self._seen = position
            self._looking = asyncio.create_task(self._look())
        return position if after is None else after

    async def confirm(self, follower: Follower) -> None:
        """Raise unauthorized where the caller may not go on; who can't be judged now may.

        The next heartbeat is due a while after it.

        Clauses: SOCK-16, STREAM-07.
        """
        follower.beat = self._next_beat()
        try:
            if await self._guard.is_still(follower.caller):
                return
        except Exception as error:
            if not is_unavailable(error):
                raise
            return
        raise unauthorized(invalid_token=True)

    async def pages(self, follower: Follower) -> AsyncIterator[Sequence[Event]]:
        """Pages of what the follower may see, and an empty one for each heartbeat.

        They end where the service stops, or the follower is interrupted. The follower's position is
        set behind each page that was taken. Raises events-gone and unauthorized.

        Clauses: LIMIT-11, SOCK-09, SOCK-10, SOCK-21, STREAM-05, STREAM-06, STREAM-09, STREAM-11.
        """
        now = asyncio.get_running_loop().time
        while not self.stopping and not follower.is_interrupted:
            if now() >= follower.beat:
                # First: the database may take its time.
                yield []
                await self.confirm(follower)
            try:
                found, reached = await self._next(follower)
            except Exception as error:
                if not is_unavailable(error):
                    raise
                await follower.wait(AWAY_SECONDS)
                continue
            if found:
                yield found
            if len(found) == PAGE:
                # There is more: SQLite and a fast client would let nobody else have a turn.
                await asyncio.sleep(0)
            follower.position = reached
            if not found and reached >= self._seen:
                await follower.wait(follower.beat - now())

    def _next_beat(self) -> float:
        return asyncio.get_running_loop().time() + self._settings.events_heartbeat

    async def _look(self) -> None:
        """Look for new events again and again, as long as anybody follows.

        Clauses: STREAM-05, STREAM-10, STREAM-11.
        """
        while self._followers and not self.stopping:
            await self._look_once()

    async def _look_once(self) -> None:
        found: list[Event] = []
        pause = LOOK_SECONDS
        try:
            found = await self._events.list_behind(self._seen, PAGE)
        except Exception as error:  # noqa: BLE001
            if not is_unavailable(error):
                log("error", "events cannot be read", error=trace(error))
            pause = AWAY_SECONDS
        if found:
            if found[0].position > self._seen + 1:
                self._recent.clear()
            self._recent += found
            self._seen = found[-1].position
            self._tell()
        if len(found) < PAGE:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    def _tell(self) -> None:
        for follower in self._followers:
            follower.wake()

    async def _next(self, follower: Follower) -> tuple[Sequence[Event], int]:
        """The next events for the follower, some at most, and the position reached with them.

        Raises events-gone.

        Clauses: RIGHT-16, SOCK-17, STREAM-04.
        """
        seen = self._seen
        caller, position = follower.caller, follower.position
        if position >= seen:
            return [], position
        if self._recent and self._recent[0].position <= position + 1:
            start = position + 1 - self._recent[0].position
            new = [*islice(self._recent, start, start + PAGE)]
            return [event for event in new if may_see(caller, event)], position + len(new)
        # A client that leaves cancels its stream, and a transaction has to end well.
        with CancelScope(shield=True):
            found = await self._events.list_behind(position, PAGE, caller)
            await self._events.check_kept(position)
        # What lies between the last one found and `seen` is somebody else's.
        reached = found[-1].position if found else position
        return found, reached if len(found) == PAGE else max(reached, seen)
