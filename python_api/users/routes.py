"""The users' routes: HTTP only.

A handler's signature says who may call it and what it reads, in the order in which the contract
lets a request fail; what is done then is in `service`.
"""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Response

from python_api.auth.guard import Admin, AnyUser, MayRegister, OwnUser
from python_api.http.readers import (
    ClientAddress,
    IfMatch,
    IfNoneMatch,
    IgnoredBody,
    ReadingRoute,
    Sent,
    from_app,
    json_body,
)
from python_api.http.requests import MERGE_PATCH
from python_api.users import docs
from python_api.users.idempotency import IdempotencyKey
from python_api.users.pages import PageQuery, next_link
from python_api.users.schemas import NewUser, User, UserChanges, UserJson, UsersJson
from python_api.users.service import Users

router = APIRouter(route_class=ReadingRoute)

TheUsers = Annotated[Users, from_app("users")]
# A creation and a replacement take the same body (USR-CREATE-04, USR-REPLACE-02).
WholeUser = Annotated[
    Sent[NewUser], json_body(NewUser, example=docs.NEW_USER, malformed_member="email")
]
# A change takes any of the members (CTYPE-08).
Changes = Annotated[
    Sent[UserChanges],
    json_body(UserChanges, example=docs.CHANGES, malformed_member="email", accepted=MERGE_PATCH),
]


@router.post("/users", openapi_extra=docs.CREATE_USER)
async def create_user(
    caller: MayRegister,
    key: IdempotencyKey,
    sent: WholeUser,
    address: ClientAddress,
    users: TheUsers,
) -> Response:
    """Create a user; for a key that was used before, repeat the first answer.

    Clauses: IDEM-09, USR-CREATE-01, USR-CREATE-02, USR-CREATE-03.
    """
    user, replayed = await users.create(caller, key, sent, address)
    headers = {"Location": f"/users/{user.id}"}
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    return _answered(user, 201, headers)


@router.get("/users", openapi_extra=docs.LIST_USERS)
async def list_users(_admin: Admin, page: PageQuery, users: TheUsers) -> Response:
    """List users: a bare array, with a link to the next page if there is one.

    Clauses: CURSOR-12, REP-10, USR-LIST-01, USR-LIST-02, USR-LIST-03, USR-LIST-18.
    """
    found = await users.list_page(page)
    shown = found[: page.limit]
    headers = {"Link": next_link(page, shown[-1])} if len(found) > page.limit else {}
    return Response(UsersJson.dump_json(shown), 200, headers, media_type="application/json")


@router.get("/users/{id}", openapi_extra=docs.GET_USER)
async def get_user(target: OwnUser, condition: IfNoneMatch, users: TheUsers) -> Response:
    """Get a user, unless it is still as the client knows it.

    Clauses: COND-11, COND-13, HDR-11, HDR-12, USR-READ-01.
    """
    user = await users.read(target.id)
    if condition and condition.match_weakly(user.etag):
        return Response(None, 304, {"ETag": user.etag})
    return _answered(user)


@router.put("/users/{id}", openapi_extra=docs.REPLACE_USER)
async def replace_user(
    target: OwnUser, condition: IfMatch, sent: WholeUser, users: TheUsers
) -> Response:
    """Replace a user. Clauses: USR-REPLACE-01."""
    return _answered(await users.change(target, condition, sent.fields))


@router.patch("/users/{id}", openapi_extra=docs.PATCH_USER)
async def patch_user(
    target: OwnUser, condition: IfMatch, sent: Changes, users: TheUsers
) -> Response:
    """Change a user: a JSON Merge Patch (RFC 7396). Clauses: USR-PATCH-01, USR-PATCH-02."""
    return _answered(await users.change(target, condition, sent.fields))


@router.delete("/users/{id}", openapi_extra=docs.DELETE_USER)
async def delete_user(
    target: AnyUser, condition: IfMatch, _body: IgnoredBody, users: TheUsers
) -> Response:
    """Delete a user. Clauses: USR-DELETE-01."""
    await users.delete(target, condition)
    return Response(None, 204)


def _answered(user: User, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The user, with its version as entity tag. Clauses: COND-01, HDR-09, HDR-10, REP-01, REP-02."""
    fields = {"ETag": user.etag, **(headers or {})}
    return Response(UserJson.dump_json(user), status, fields, media_type="application/json")
