"""What the users' operations do: each write is one transaction, committed before it is answered.

Each begins with a second look at the caller: the body may have come long after the token was
checked (RIGHT-15).
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from python_api.auth.failures import Suspect, count_failure, refuse_locked, registrant
from python_api.auth.guard import Caller, Guard, Target
from python_api.auth.passwords import hash_password
from python_api.events.schemas import Change, user_changed, user_created, user_deleted
from python_api.events.store import write_event
from python_api.http.problems import Problem
from python_api.http.readers import Sent
from python_api.http.requests import EntityTags
from python_api.settings import Settings
from python_api.storage.database import Connection, Database
from python_api.users import store
from python_api.users.idempotency import claim_key, is_kept, keep_response, scoped_key
from python_api.users.pages import Page
from python_api.users.schemas import NewUser, User, UserChanges


class Users:
    """The users of a database."""

    def __init__(self, settings: Settings, database: Database, guard: Guard) -> None:
        self._settings = settings
        self._database = database
        self._guard = guard

    async def create(
        self, caller: Caller | None, sent_key: str | None, sent: Sent[NewUser], address: str
    ) -> tuple[User, bool]:
        """Create a user; gives it, and whether it was created before, under the same key.

        `address` is where the request comes from. Raises unauthorized, forbidden,
        idempotency-key-reused, too-many-registrations, overloaded and email-taken.

        Clauses: IDEM-01, IDEM-02, IDEM-08, IDEM-10, IDEM-14, LIMIT-13, OPS-19, PROB-17, PROB-22,
        REP-05, REP-06, USR-CREATE-05, USR-CREATE-06.
        """
        self._guard.check_role(caller, sent.fields.role)
        is_counted = self._settings.auth and not caller
        whom = [registrant(address, self._settings)] if is_counted else []
        key = scoped_key(sent_key, caller)
        await self._refuse_crowd(whom, key)
        fields = await self._stored(sent.fields)
        now = datetime.now(UTC)
        async with self._counted(whom, now) as connection:
            await self._guard.confirm(connection, caller)
            if key:
                ttl = self._settings.idempotency_ttl
                kept = await claim_key(connection, key, sent.raw, now, ttl)
                if kept:
                    return kept, True
            if whom:
                await count_failure(connection, whom, now)
            user = await store.create_user(connection, fields, now)
            await self._write_event(connection, user_created(user), now)
            if key:
                await keep_response(connection, key, user)
        return user, False

    async def list_page(self, page: Page) -> list[User]:
        """The users of a page, and one more if there is another page. Clauses: USR-LIST-19."""
        async with self._database.connection() as connection:
            return await store.list_users(connection, page)

    async def read(self, user_id: int) -> User:
        """The user. Raises user-not-found. Clauses: COND-15, USR-READ-04."""
        async with self._database.connection() as connection:
            return await store.read_user(connection, user_id)

    async def change(
        self, target: Target, condition: EntityTags | None, sent: NewUser | UserChanges
    ) -> User:
        """Change the members that were sent; gives the user as it is then.

        Raises unauthorized, forbidden, user-not-found, version-mismatch, email-taken and
        overloaded.

        Clauses: PROB-22, USR-PATCH-07, USR-PATCH-09, USR-REPLACE-06, USR-REPLACE-07.
        """
        self._guard.check_role(target.caller, sent.role)
        changes = await self._stored(sent)
        now = datetime.now(UTC)
        async with self._database.transaction() as connection:
            await self._guard.confirm(connection, target.caller, target.id)
            user, is_new = await store.change_user(connection, target.id, changes, condition, now)
            if is_new:
                await self._write_event(connection, user_changed(user), now)
            return user

    async def delete(self, target: Target, condition: EntityTags | None) -> None:
        """Delete the user. Raises unauthorized, forbidden, user-not-found and version-mismatch.

        Clauses: USR-DELETE-03.
        """
        now = datetime.now(UTC)
        async with self._database.transaction() as connection:
            await self._guard.confirm(connection, target.caller, target.id)
            version = await store.delete_user(connection, target.id, condition)
            await self._write_event(connection, user_deleted(target.id, version, now), now)

    async def _write_event(self, connection: Connection, change: Change, now: datetime) -> None:
        """Write the event of a change, in one commit with it. Clauses: EVENT-01, EVENT-02."""
        await write_event(connection, change, now, self._settings.events_ttl)

    async def _refuse_crowd(self, whom: Sequence[Suspect], key: str | None) -> None:
        """Raise too-many-registrations before there is work, unless there is an answer already.

        Clauses: LIMIT-15.
        """
        if not whom:
            return
        now = datetime.now(UTC)
        async with self._database.connection() as connection:
            if not (key and await is_kept(connection, key, now)):
                await refuse_locked(connection, whom, now)

    @asynccontextmanager
    async def _counted(self, whom: Sequence[Suspect], now: datetime) -> AsyncIterator[Connection]:
        """A transaction; where it ends with email-taken, that is counted in a second one.

        Whoever is told that an email is taken has learned who has an account.

        Clauses: LIMIT-12, LIMIT-14.
        """
        try:
            async with self._database.transaction() as connection:
                yield connection
        except Problem as problem:
            if whom and problem.code == "email-taken":
                async with self._database.transaction() as connection:
                    await count_failure(connection, whom, now)
            raise

    async def _stored(self, sent: NewUser | UserChanges) -> dict[str, Any]:
        """The members that were sent, as they are kept: in place of a password its hash.

        Comes before the transaction, which would hold a connection, or SQLite's only writer,
        meanwhile.

        Clauses: PASSWORD-07, PASSWORD-08, PASSWORD-15, ROLE-04, USR-PATCH-01.
        """
        fields = sent.model_dump(exclude_unset=True)
        if "password" in fields:
            password = fields.pop("password")
            fields["password_hash"] = password and await hash_password(password, self._settings)
        return fields
