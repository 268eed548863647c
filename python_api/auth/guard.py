"""The guard: who calls, and whether they may. Where the service runs open, everybody may."""

import re
import time
from dataclasses import dataclass
from typing import Annotated, TypeGuard

from fastapi import Request
from starlette.datastructures import Headers

from python_api.auth.keys import ProviderKeys
from python_api.auth.store import Credentials, find_by_id, hold_caller
from python_api.auth.tokens import Claims, TokenError, read_token
from python_api.http.openapi import OPTIONAL, SECURED, Piece
from python_api.http.problems import Problem, issue
from python_api.http.readers import Reader
from python_api.http.requests import MAX_INTEGER, TOKEN, header, path_id
from python_api.settings import Settings
from python_api.storage.database import Connection, Database

# RFC 6750, 2.1 (AUTH-03, AUTH-04)
BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*)", re.ASCII | re.IGNORECASE)
# Without a comma: of several fields the values are one, with commas between.
OTHER_SCHEME = re.compile(rf"(?!bearer(?: |$)){TOKEN}(?: [^,]*)?", re.IGNORECASE)
REALM = 'Bearer realm="users"'


@dataclass(frozen=True, slots=True)
class Caller:
    """The owner of a request's token."""

    id: int
    is_admin: bool
    claims: Claims


@dataclass(frozen=True, slots=True)
class Target:
    """The user whom a path names, there or not, and who asks for them."""

    id: int
    caller: Caller | None


class Guard:
    """Tells who calls, by the request's token, and refuses whoever may not.

    Where the service runs open there is no caller, and everybody may.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._keys = ProviderKeys(settings) if settings.auth_jwks_url else None

    async def registration(self, headers: Headers) -> Caller | None:
        """The caller, who may create a user: anybody may, unless registration is closed.

        Raises unauthorized, and where it is closed forbidden.

        Clauses: PROB-20, PROB-21, RIGHT-02, RIGHT-09.
        """
        if not self._settings.registration:
            return await self.admin(headers)
        return await self._owner(headers)

    async def admin(self, headers: Headers) -> Caller | None:
        """An admin. Raises unauthorized and forbidden.

        Clauses: PROB-20, PROB-21, RIGHT-01, RIGHT-03, RIGHT-14, RIGHT-17.
        """
        caller = await self.caller(headers)
        if caller and not caller.is_admin:
            raise forbidden()
        return caller

    async def caller(self, headers: Headers) -> Caller | None:
        """The caller, whoever it is. Raises unauthorized. Clauses: PROB-20, RIGHT-14, RIGHT-16."""
        owner = await self._owner(headers)
        return _required(owner) if self._settings.auth else None

    async def user(self, headers: Headers, user_id: str) -> Target:
        """The user with this id, or with `me` the caller, for whoever may see and change them.

        Raises unauthorized, forbidden (without a look at whether there is such a user) and
        validation.

        Clauses: PROB-08, PROB-20, PROB-21, RIGHT-04, RIGHT-05, RIGHT-14.
        """
        caller = await self.caller(headers)
        named = _named(user_id, caller)
        if caller and not caller.is_admin and named != str(caller.id):
            raise forbidden()
        return Target(path_id(named), caller)

    async def deletion(self, headers: Headers, user_id: str) -> Target:
        """The user with this id, for whoever may delete them.

        Raises unauthorized, forbidden and validation.

        Clauses: PROB-08, RIGHT-03.
        """
        caller = await self.admin(headers)
        return Target(path_id(_named(user_id, caller)), caller)

    def check_role(self, caller: Caller | None, role: str | None) -> None:
        """Only an admin may give the role `admin`. Raises unauthorized and forbidden.

        Clauses: RIGHT-07, RIGHT-08.
        """
        if self._settings.auth and role == "admin" and not _required(caller).is_admin:
            raise forbidden()

    async def confirm(
        self, connection: Connection, caller: Caller | None, target_id: int | None = None
    ) -> None:
        """Judge the caller of a write once more, in its transaction: the body may have come late.

        `target_id` is the user whom it changes, if any. Raises unauthorized where the token has
        ended or become void by now, and forbidden where the caller is an admin no more.

        Clauses: RIGHT-15.
        """
        if caller is None:
            return
        user = _not_void(await hold_caller(connection, caller.id, target_id), caller.claims)
        if caller.claims.expires_at <= time.time():
            raise unauthorized(invalid_token=True)
        if caller.is_admin and user.role != "admin":
            raise forbidden()

    async def is_still(self, caller: Caller | None) -> bool:
        """Whether the caller's token is still good, and they are an admin or not as before.

        Clauses: SOCK-16, STREAM-07.
        """
        if caller is None:
            return True
        if caller.claims.expires_at <= time.time():
            return False
        async with self._database.connection() as connection:
            user = await find_by_id(connection, caller.id)
        return _is_good(user, caller.claims) and (user.role == "admin") == caller.is_admin

    async def _owner(self, headers: Headers) -> Caller | None:
        """Whose token it is; None without one. Raises unauthorized for one that is not valid.

        Clauses: AUTH-03, AUTH-04, AUTH-11, AUTH-13, AUTH-17.
        """
        sent = header(headers, "authorization")
        if not self._settings.auth or sent is None or OTHER_SCHEME.fullmatch(sent):
            return None
        bearer = BEARER.fullmatch(sent)
        if not bearer:
            raise unauthorized(invalid_token=True)
        try:
            claims = await read_token(bearer[1], self._settings, self._keys)
        except TokenError:
            raise unauthorized(invalid_token=True) from None
        async with self._database.connection() as connection:
            user = await find_by_id(connection, claims.user_id)
        user = _not_void(user, claims)
        return Caller(user.id, user.role == "admin", claims)


def _not_void(user: Credentials | None, claims: Claims) -> Credentials:
    """The token's owner. Raises unauthorized if they are gone, or have voided it since."""
    if not _is_good(user, claims):
        raise unauthorized(invalid_token=True)
    return user


def _is_good(user: Credentials | None, claims: Claims) -> TypeGuard[Credentials]:
    """Whether the token's owner is there, and has not voided it since. Clauses: AUTH-09, AUTH-10."""
    return user is not None and claims.token_epoch in (None, user.token_epoch)


def _named(user_id: str, caller: Caller | None) -> str:
    """The id that is meant: for `me` the caller's. Raises unauthorized.

    Clauses: AUTH-16, RIGHT-06.
    """
    return str(_required(caller).id) if user_id == "me" else user_id


def _required(caller: Caller | None) -> Caller:
    if caller is None:
        raise unauthorized()
    return caller


def unauthorized(*, invalid_token: bool = False) -> Problem:
    """401, with the challenge of RFC 6750, 3. Clauses: AUTH-03, AUTH-04."""
    challenge = f'{REALM}, error="invalid_token"' if invalid_token else REALM
    return Problem("unauthorized", headers={"WWW-Authenticate": challenge})


def forbidden() -> Problem:
    """403, with the challenge of RFC 6750, 3.1. Clauses: RIGHT-10."""
    return Problem(
        "forbidden", headers={"WWW-Authenticate": f'{REALM}, error="insufficient_scope"'}
    )


USER_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The user's id, in canonical decimal.",
    "schema": {
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": MAX_INTEGER},
            {"type": "string", "enum": ["me"], "description": "The token's owner."},
        ]
    },
    "example": 1,
}
# What the guard, the database and the provider have to say.
REFUSALS: list[str | Problem] = [unauthorized(), forbidden(), "unavailable", "provider-unavailable"]
WRONG_ID = Problem("validation", [issue("parameter", "id", "malformed")])


def _guard(request: Request) -> Guard:
    guard: Guard = request.app.state.guard
    return guard


OPEN_TO_ALL: Piece = {"security": OPTIONAL, "x-problems": REFUSALS}
GUARDED: Piece = {"security": SECURED, "x-problems": REFUSALS}
OF_A_USER: Piece = {
    "security": SECURED,
    "parameters": [USER_ID],
    "x-problems": [*REFUSALS, WRONG_ID],
}
MayRegister = Annotated[
    Caller | None,
    Reader(lambda request: _guard(request).registration(request.headers), OPEN_TO_ALL),
]
Admin = Annotated[
    Caller | None, Reader(lambda request: _guard(request).admin(request.headers), GUARDED)
]
AnyCaller = Annotated[
    Caller | None, Reader(lambda request: _guard(request).caller(request.headers), GUARDED)
]
OwnUser = Annotated[
    Target,
    Reader(
        lambda request: _guard(request).user(request.headers, request.path_params["id"]), OF_A_USER
    ),
]
AnyUser = Annotated[
    Target,
    Reader(
        lambda request: _guard(request).deletion(request.headers, request.path_params["id"]),
        OF_A_USER,
    ),
]
