"""The users' routes, in the contract's order: HTTP only.

Each handler asks the guard, which knows 401 and 403, reads the request in the order in which the
contract lets it fail (415, 413, 400, 422), then asks the store, which knows 404, 412 and 409. A
write's transaction begins with a second look at the caller, whose body may have come late, and is
committed before the answer leaves.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response

from python_api.auth.addresses import client_address
from python_api.auth.failures import Suspect, count_failure, refuse_locked, registrant
from python_api.auth.guard import Guard
from python_api.auth.passwords import hash_password
from python_api.database import Connection, Database
from python_api.openapi import operation
from python_api.problems import Problem
from python_api.requests import (
    JSON,
    MERGE_PATCH,
    entity_tags,
    header,
    id_issues,
    idempotency_key,
    parse_body,
    parse_json,
    parse_query,
    path_id,
    read_body,
    read_to_end,
)
from python_api.settings import Settings
from python_api.users import docs, store
from python_api.users.idempotency import claim_key, is_kept, keep_response, scoped_key
from python_api.users.pages import next_link, parse_page
from python_api.users.schemas import NewUser, User, UserChanges, UserJson, UsersJson


def users_routes(database: Database, settings: Settings, guard: Guard) -> APIRouter:
    """The routes under `/users`."""
    router = APIRouter()

    # IDEM-09, PROB-14, PROB-15, PROB-16
    @router.post("/users", **operation(docs.CREATE_USER))
    async def create_user(request: Request) -> Response:
        caller = await guard.registration(request)
        body = await read_body(request, JSON)
        # IDEM-11
        key = scoped_key(idempotency_key(request), caller)
        new = parse_body(NewUser, parse_json(body))
        # PROB-22
        guard.check_role(caller, new.role)
        # LIMIT-13
        whom = [_registrant(request, settings)] if settings.auth and not caller else []
        await _refuse_crowd(database, whom, key)
        fields = await _stored(new, settings)
        # REP-05, REP-06
        now = datetime.now(UTC)
        # USR-CREATE-05, USR-CREATE-06, IDEM-08, IDEM-14, OPS-19
        async with _counted(database, whom, now) as connection:
            await guard.confirm(connection, caller)
            # IDEM-10, PROB-17
            if key:
                kept = await claim_key(connection, key, body, now, settings.idempotency_ttl)
                # IDEM-02
                if kept:
                    return _created(kept, {"Idempotency-Replayed": "true"})
            if whom:
                await count_failure(connection, whom, now)
            user = await store.create_user(connection, fields, now)
            if key:
                await keep_response(connection, key, user)
        # IDEM-01
        return _created(user, {})

    @router.get("/users", **operation(docs.LIST_USERS))
    async def list_users(request: Request) -> Response:
        await guard.admin(request)
        # QUERY-01, PROB-14
        page = parse_page(parse_query(request.scope["query_string"].decode("latin-1")))
        # USR-LIST-19
        async with database.connection() as connection:
            users = await store.list_users(connection, page)
        # USR-LIST-03
        shown = users[: page.limit]
        # USR-LIST-02, USR-LIST-18, CURSOR-12
        headers = {"Link": next_link(page, shown[-1])} if len(users) > page.limit else {}
        # REP-10, USR-LIST-01
        return Response(UsersJson.dump_json(shown), 200, headers, media_type="application/json")

    # HDR-11, HDR-12
    @router.get("/users/{id}", **operation(docs.GET_USER))
    async def get_user(request: Request) -> Response:
        _, sent_id = await guard.user(request, request.path_params["id"])
        # COND-14, COND-17
        condition = entity_tags(request, "If-None-Match")
        user_id = path_id(sent_id)
        # USR-READ-04, COND-15
        async with database.connection() as connection:
            user = await store.read_user(connection, user_id)
        # COND-11, COND-13
        if condition and condition.match_weakly(user.etag):
            return Response(None, 304, {"ETag": user.etag})
        # USR-READ-01
        return _answered(user)

    # USR-REPLACE-01, PROB-14, PROB-15, PROB-16
    @router.put("/users/{id}", **operation(docs.REPLACE_USER))
    async def replace_user(request: Request) -> Response:
        caller, sent_id = await guard.user(request, request.path_params["id"])
        body = await read_body(request, JSON)
        # COND-14, COND-17
        condition = entity_tags(request, "If-Match")
        document = parse_json(body)
        # PROB-08
        issues = id_issues(sent_id)
        # USR-REPLACE-02
        sent = parse_body(NewUser, document, issues)
        # PROB-22
        guard.check_role(caller, sent.role)
        changes = await _stored(sent, settings)
        user_id = int(sent_id)
        now = datetime.now(UTC)
        # USR-REPLACE-06, USR-REPLACE-07
        async with database.transaction() as connection:
            await guard.confirm(connection, caller, user_id)
            user = await store.change_user(connection, user_id, changes, condition, now)
        return _answered(user)

    @router.patch("/users/{id}", **operation(docs.PATCH_USER))
    async def patch_user(request: Request) -> Response:
        caller, sent_id = await guard.user(request, request.path_params["id"])
        # CTYPE-08
        body = await read_body(request, MERGE_PATCH)
        condition = entity_tags(request, "If-Match")
        document = parse_json(body)
        issues = id_issues(sent_id)
        # USR-PATCH-01, USR-PATCH-02
        sent = parse_body(UserChanges, document, issues)
        # PROB-22
        guard.check_role(caller, sent.role)
        changes = await _stored(sent, settings)
        user_id = int(sent_id)
        now = datetime.now(UTC)
        # USR-PATCH-07, USR-PATCH-09
        async with database.transaction() as connection:
            await guard.confirm(connection, caller, user_id)
            user = await store.change_user(connection, user_id, changes, condition, now)
        return _answered(user)

    # BODY-06
    @router.delete("/users/{id}", **operation(docs.DELETE_USER))
    async def delete_user(request: Request) -> Response:
        caller, sent_id = await guard.deletion(request, request.path_params["id"])
        condition = entity_tags(request, "If-Match")
        user_id = path_id(sent_id)
        await read_to_end(request)
        # USR-DELETE-03
        async with database.transaction() as connection:
            await guard.confirm(connection, caller, user_id)
            await store.delete_user(connection, user_id, condition)
        # USR-DELETE-01
        return Response(None, 204)

    return router


# LIMIT-12
def _registrant(request: Request, settings: Settings) -> Suspect:
    peer = request.client.host if request.client else ""
    forwarded = header(request.headers, "x-forwarded-for") or ""
    return registrant(client_address(peer, forwarded, settings.trusted_proxies), settings)


# LIMIT-15
async def _refuse_crowd(database: Database, whom: Sequence[Suspect], key: str | None) -> None:
    """Raise too-many-registrations before there is work, unless there is an answer already."""
    if not whom:
        return
    now = datetime.now(UTC)
    async with database.connection() as connection:
        if not (key and await is_kept(connection, key, now)):
            await refuse_locked(connection, whom, now)


# LIMIT-12, LIMIT-14
@asynccontextmanager
async def _counted(
    database: Database, whom: Sequence[Suspect], now: datetime
) -> AsyncIterator[Connection]:
    """A transaction, and where it ends with email-taken, one more that counts that.

    Whoever is told that an email is taken has learned who has an account.
    """
    try:
        async with database.transaction() as connection:
            yield connection
    except Problem as problem:
        if whom and problem.code == "email-taken":
            async with database.transaction() as connection:
                await count_failure(connection, whom, now)
        raise


# USR-PATCH-01, ROLE-04, PASSWORD-08, PASSWORD-15
async def _stored(sent: NewUser | UserChanges, settings: Settings) -> dict[str, Any]:
    """The members that were sent, as they are kept: in place of a password its hash.

    Comes before the transaction, which would hold a connection, or SQLite's only one, meanwhile.
    """
    fields = sent.model_dump(exclude_unset=True)
    if "password" in fields:
        password = fields.pop("password")
        # PASSWORD-07
        fields["password_hash"] = password and await hash_password(password, settings)
    return fields


# USR-CREATE-01, USR-CREATE-02, USR-CREATE-03, COND-01
def _created(user: User, headers: dict[str, str]) -> Response:
    headers = {"Location": f"/users/{user.id}", "ETag": user.etag, **headers}
    return Response(UserJson.dump_json(user), 201, headers, media_type="application/json")


# HDR-09, HDR-10, REP-01, REP-02, COND-01
def _answered(user: User) -> Response:
    headers = {"ETag": user.etag}
    return Response(UserJson.dump_json(user), 200, headers, media_type="application/json")
