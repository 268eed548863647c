"""The users' routes, in the contract's order: HTTP only.

Each handler reads the request in the order in which the contract lets it fail (415, 413, 400,
422), then asks the store, which knows 404, 412 and 409. A write's transaction is committed
before its answer leaves.
"""

from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response

from python_api.database import Database
from python_api.openapi import operation
from python_api.requests import (
    JSON,
    MERGE_PATCH,
    entity_tags,
    id_issues,
    idempotency_key,
    parse_body,
    parse_json,
    parse_query,
    path_id,
    read_body,
)
from python_api.settings import Settings
from python_api.users import docs, store
from python_api.users.idempotency import claim_key, keep_response
from python_api.users.pages import next_link, parse_page
from python_api.users.schemas import NewUser, User, UserChanges, Users


def users_routes(database: Database, settings: Settings) -> APIRouter:
    """The routes under `/users`."""
    router = APIRouter()

    @router.post("/users", **operation(docs.CREATE_USER))
    async def create_user(request: Request) -> Response:
        body = await read_body(request, JSON)
        key = idempotency_key(request.headers)
        new = parse_body(NewUser, parse_json(body))
        now = datetime.now(UTC)
        async with database.transaction() as connection:
            if key:
                kept = await claim_key(connection, key, body, now, settings.idempotency_ttl)
                if kept:
                    return _created(kept, {"Idempotency-Replayed": "true"})
            user = await store.create_user(connection, new, now)
            if key:
                await keep_response(connection, key, user)
        return _created(user, {})

    @router.get("/users", **operation(docs.LIST_USERS))
    async def list_users(request: Request) -> Response:
        page = parse_page(parse_query(request.scope["query_string"]))
        async with database.connection() as connection:
            users = await store.list_users(connection, page)
        shown = users[: page.limit]
        headers = {"Link": next_link(page, shown[-1])} if len(users) > page.limit else {}
        return Response(Users.dump_json(shown), 200, headers, media_type="application/json")

    @router.get("/users/{id}", **operation(docs.GET_USER))
    async def get_user(request: Request) -> Response:
        condition = entity_tags(request.headers, "If-None-Match")
        user_id = path_id(request.path_params["id"])
        async with database.connection() as connection:
            user = await store.read_user(connection, user_id)
        if condition and condition.match_weakly(user.etag):
            return Response(None, 304, {"ETag": user.etag})
        return _answered(user)

    @router.put("/users/{id}", **operation(docs.REPLACE_USER))
    async def replace_user(request: Request) -> Response:
        body = await read_body(request, JSON)
        condition = entity_tags(request.headers, "If-Match")
        document = parse_json(body)
        issues = id_issues(request.path_params["id"])
        changes = parse_body(NewUser, document, issues).model_dump()
        user_id = int(request.path_params["id"])
        now = datetime.now(UTC)
        async with database.transaction() as connection:
            user = await store.change_user(connection, user_id, changes, condition, now)
        return _answered(user)

    @router.patch("/users/{id}", **operation(docs.PATCH_USER))
    async def patch_user(request: Request) -> Response:
        body = await read_body(request, MERGE_PATCH)
        condition = entity_tags(request.headers, "If-Match")
        document = parse_json(body)
        issues = id_issues(request.path_params["id"])
        changes = parse_body(UserChanges, document, issues).model_dump(exclude_unset=True)
        user_id = int(request.path_params["id"])
        now = datetime.now(UTC)
        async with database.transaction() as connection:
            user = await store.change_user(connection, user_id, changes, condition, now)
        return _answered(user)

    @router.delete("/users/{id}", **operation(docs.DELETE_USER))
    async def delete_user(request: Request) -> Response:
        condition = entity_tags(request.headers, "If-Match")
        user_id = path_id(request.path_params["id"])
        async with database.transaction() as connection:
            await store.delete_user(connection, user_id, condition)
        return Response(None, 204)

    return router


def _created(user: User, headers: dict[str, str]) -> Response:
    headers = {"Location": f"/users/{user.id}", "ETag": user.etag, **headers}
    return Response(user.model_dump_json(), 201, headers, media_type="application/json")


def _answered(user: User) -> Response:
    headers = {"ETag": user.etag}
    return Response(user.model_dump_json(), 200, headers, media_type="application/json")
