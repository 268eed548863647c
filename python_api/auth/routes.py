"""The token endpoint (RFC 6749): HTTP only."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from python_api.auth import docs
from python_api.auth.failures import count_failure, refuse_guess, refuse_locked, suspects
from python_api.auth.grants import ERRORS, GrantError, parse_grant
from python_api.auth.passwords import hash_password, is_outdated, is_password
from python_api.auth.store import Credentials, find_by_email, renew_hash
from python_api.auth.tokens import issue_token
from python_api.http.openapi import content
from python_api.http.readers import ClientAddress, Reader, ReadingRoute, TheDatabase, TheSettings
from python_api.http.requests import FORM, read_body
from python_api.settings import Settings
from python_api.storage.database import Database
from python_api.users.schemas import email_rule

router = APIRouter(route_class=ReadingRoute)

Form = Annotated[
    bytes,
    Reader(
        lambda request: read_body(request, FORM),
        {
            "requestBody": {
                "required": True,
                "content": content({"$ref": "#/components/schemas/TokenRequest"}, docs.FORM, *FORM),
            },
            "x-problems": ["unsupported-media-type", "body-too-large"],
        },
    ),
]


@router.post("/auth/token", openapi_extra=docs.CREATE_TOKEN)
async def create_token(
    form: Form, address: ClientAddress, settings: TheSettings, database: TheDatabase
) -> Response:
    """Give a token for an email and a password, or tell why there is none (RFC 6749, 5.2).

    Clauses: LOGIN-01, LOGIN-05.
    """
    try:
        email, password = parse_grant(form, settings)
        user = await log_in(database, settings, email, password, address)
    except GrantError as error:
        refusal = {"error": str(error), "error_description": ERRORS[str(error)]}
        return JSONResponse(refusal, 400)
    token = issue_token(user, datetime.now(UTC), settings)
    lifetime = settings.auth_token_ttl
    return JSONResponse({"access_token": token, "token_type": "Bearer", "expires_in": lifetime})


async def log_in(
    database: Database, settings: Settings, email: str, password: str, address: str
) -> Credentials:
    """The user with this email, if this is the password.

    Raises GrantError and too-many-failures. Whoever is locked out is told so again at the
    end: of guesses that are under way at the same time no more than the limit are judged.

    Clauses: LOGIN-04, LOGIN-07, LOGIN-08.
    """
    whom = suspects(email, address, settings)
    async with database.connection() as connection:
        await refuse_locked(connection, whom, datetime.now(UTC))
        # Nobody has what isn't an email, and PostgreSQL may not take it as text.
        user = None if email_rule(email) else await find_by_email(connection, email)
    kept = user.password_hash if user else None
    is_right = await is_password(password, kept, settings)
    now = datetime.now(UTC)
    if not (user and kept and is_right):
        async with database.transaction() as connection:
            await count_failure(connection, whom, now)
        raise GrantError("invalid_grant")
    async with database.transaction() as connection:
        await refuse_guess(connection, whom, now)
    if is_outdated(kept, settings):
        renewed = await hash_password(password, settings)
        async with database.transaction() as connection:
            await renew_hash(connection, user, renewed)
    return user
