"""The guard: who calls, and whether they may. Where the service runs open, everybody may."""

import re
import time
from dataclasses import dataclass

from fastapi import Request

from python_api.auth.keys import ProviderKeys
from python_api.auth.store import Credentials, find_by_id, hold_caller
from python_api.auth.tokens import Claims, TokenError, read_token
from python_api.database import Connection, Database
from python_api.problems import Problem
from python_api.requests import TOKEN, header
from python_api.settings import Settings

# AUTH-03, AUTH-04
# RFC 6750, 2.1
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


class Guard:
    """Who calls, by the request's token; None where nobody has to say."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._keys = ProviderKeys(settings) if settings.auth_jwks_url else None

    # RIGHT-02, RIGHT-09, PROB-20
    async def registration(self, request: Request) -> Caller | None:
        """The caller, who may create a user: anybody may, unless registration is closed."""
        if not self._settings.registration:
            return await self.admin(request)
        return await self._caller(request)

    # RIGHT-01, RIGHT-03, RIGHT-14, PROB-20, PROB-21
    async def admin(self, request: Request) -> Caller | None:
        """An admin. Raises unauthorized and forbidden."""
        caller = await self._known(request)
        if caller and not caller.is_admin:
            raise forbidden()
        return caller

    # RIGHT-04, RIGHT-05, RIGHT-14, PROB-20, PROB-21
    async def user(self, request: Request, user_id: str) -> tuple[Caller | None, str]:
        """Whoever may see and change the user with this id, and the id: for `me` their own.

        Raises unauthorized and forbidden, that without a look at whether there is such a user.
        """
        caller = await self._known(request)
        named = _named(user_id, caller)
        if caller and not caller.is_admin and named != str(caller.id):
            raise forbidden()
        return caller, named

    # RIGHT-03
    async def deletion(self, request: Request, user_id: str) -> tuple[Caller | None, str]:
        """Whoever may delete the user with this id, and the id. Raises unauthorized and forbidden."""
        caller = await self.admin(request)
        return caller, _named(user_id, caller)

    # RIGHT-07, RIGHT-08
    def check_role(self, caller: Caller | None, role: str | None) -> None:
        """Only an admin may make one. Raises unauthorized and forbidden."""
        if self._settings.auth and role == "admin" and not _required(caller).is_admin:
            raise forbidden()

    # RIGHT-15
    async def confirm(
        self, connection: Connection, caller: Caller | None, target_id: int | None = None
    ) -> None:
        """Judge the caller of a write once more, in its transaction: the body may have come late.

        `target_id` is the user whom it changes, if any. Raises unauthorized where the token has
        ended or become void by now, and forbidden where the caller is an admin no more.
        """
        if caller is None:
            return
        user = _not_void(await hold_caller(connection, caller.id, target_id), caller.claims)
        if caller.claims.expires_at <= time.time():
            raise unauthorized(invalid_token=True)
        if caller.is_admin and user.role != "admin":
            raise forbidden()

    async def _known(self, request: Request) -> Caller | None:
        caller = await self._caller(request)
        return _required(caller) if self._settings.auth else None

    # AUTH-03, AUTH-04, AUTH-13
    async def _caller(self, request: Request) -> Caller | None:
        """Whose token it is; None without one. Raises unauthorized for one that is not valid."""
        sent = header(request.headers, "authorization")
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
        # AUTH-11, AUTH-17
        user = _not_void(user, claims)
        return Caller(user.id, user.role == "admin", claims)


# AUTH-09, AUTH-10
def _not_void(user: Credentials | None, claims: Claims) -> Credentials:
    if user is None or claims.token_epoch not in (None, user.token_epoch):
        raise unauthorized(invalid_token=True)
    return user


# RIGHT-06, AUTH-16
def _named(user_id: str, caller: Caller | None) -> str:
    return str(_required(caller).id) if user_id == "me" else user_id


def _required(caller: Caller | None) -> Caller:
    if caller is None:
        raise unauthorized()
    return caller


# AUTH-03, AUTH-04
def unauthorized(*, invalid_token: bool = False) -> Problem:
    """401, with the challenge of RFC 6750, 3."""
    challenge = f'{REALM}, error="invalid_token"' if invalid_token else REALM
    return Problem("unauthorized", headers={"WWW-Authenticate": challenge})


# RIGHT-10
def forbidden() -> Problem:
    """403, with the challenge of RFC 6750, 3.1."""
    return Problem(
        "forbidden", headers={"WWW-Authenticate": f'{REALM}, error="insufficient_scope"'}
    )
