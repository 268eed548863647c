"""What comes in and goes out: the fields' rules, and the user as clients see it."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal, LiteralString, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, TypeAdapter, WithJsonSchema
from pydantic_core import PydanticCustomError

from python_api.http.requests import MAX_INTEGER

# The languages' own trims differ in what they take for white space (NAME-01).
TRIMMED = " \t\r\n"
FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

# Lengths, in code points.
MAX_TEXT = 100
MAX_EMAIL = 254
MAX_LOCAL = 64
MIN_PASSWORD = 12
MAX_PASSWORD = 128

# What may stand before the @: the HTML Living Standard's `input type=email` (EMAIL-01).
LOCAL = "[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]"
# No hyphen at its ends, 63 characters at most (EMAIL-04).
LABEL = "[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
# At least one dot in the domain (EMAIL-01, EMAIL-02, EMAIL-03).
EMAIL = rf"{LOCAL}+@{LABEL}(\.{LABEL})+"
SURROGATE = re.compile("[\ud800-\udfff]")
TIMESTAMP = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$"

# All the roles there are (ROLE-01).
Role = Literal["admin", "member"]


def text_rule(text: str) -> LiteralString | None:
    """The rule that a trimmed name or search text breaks, if any. Lengths are in code points.

    Clauses: NAME-02, NAME-03, NAME-04, NAME-05, NAME-06, USR-LIST-15.
    """
    if not text:
        return "too-short"
    if len(text) > MAX_TEXT:
        return "too-long"
    return "malformed" if FORBIDDEN.search(text) else None


def email_rule(email: str) -> LiteralString | None:
    """The rule that an email breaks, if any: its length is judged before its form.

    Clauses: EMAIL-02, EMAIL-05, EMAIL-06, EMAIL-07, EMAIL-08, EMAIL-09.
    """
    if len(email) > MAX_EMAIL or len(email.rpartition("@")[0]) > MAX_LOCAL:
        return "too-long"
    return None if re.fullmatch(EMAIL, email) else "malformed"


def password_rule(password: str) -> LiteralString | None:
    """The rule that a password breaks, if any. Lengths are in code points.

    Clauses: PASSWORD-01, PASSWORD-02, PASSWORD-03, PASSWORD-04, PASSWORD-05.
    """
    if len(password) < MIN_PASSWORD:
        return "too-short"
    if len(password) > MAX_PASSWORD:
        return "too-long"
    return "malformed" if SURROGATE.search(password) else None


def _name(value: object) -> str:
    """A name, trimmed. Clauses: NAME-01, NAME-06, NAME-07, NAME-08."""
    name = _string(value).strip(TRIMMED)
    _check_rule(text_rule(name))
    return name


def _email(value: object) -> str:
    email = _string(value)
    _check_rule(email_rule(email))
    # Only now: it turns some letters into ASCII ones, U+212A into k (EMAIL-05, EMAIL-10).
    return email.lower()


def _role(value: object) -> str:
    """A role. Clauses: ROLE-01, ROLE-02."""
    role = _string(value)
    _check_rule(None if role in get_args(Role) else "malformed")
    return role


def _password(value: object) -> str:
    """A password, as it was sent. Clauses: PASSWORD-05, PASSWORD-06."""
    password = _string(value)
    _check_rule(password_rule(password))
    return password


def _password_or_null(value: object) -> str | None:
    """A password, or None to take it away. Clauses: PASSWORD-07."""
    return None if value is None else _password(value)


def _string(value: object) -> str:
    """The text; nothing is made into one. Clauses: JSON-15, PASSWORD-06, USR-PATCH-04."""
    if not isinstance(value, str):
        raise PydanticCustomError("wrong-type", "not a string")
    return value


def _check_rule(broken_rule: LiteralString | None) -> None:
    """Refuse the value where it breaks a rule. Clauses: PROB-04, PROB-06."""
    # The error's type is the contract's code; pydantic's own texts are never shown.
    if broken_rule:
        raise PydanticCustomError(broken_rule, "a rule is broken")


# What `text_rule` lets through, before trimming, as a pattern of JSON Schema.
TEXT_PATTERN = (
    r"^[\t\n\r ]*[^\u0000-\u0020\u007f-\u009f]"
    rf"([^\u0000-\u001f\u007f-\u009f]{{0,{MAX_TEXT - 2}}}[^\u0000-\u0020\u007f-\u009f])?[\t\n\r ]*$"
)
NAME_SCHEMA = {
    "type": "string",
    "pattern": TEXT_PATTERN,
    "description": f"1 to {MAX_TEXT} code points after trimming of space, tab, CR and LF; "
    "no control characters.",
    "examples": ["Ada Lovelace"],
}
EMAIL_SCHEMA = {
    "type": "string",
    "maxLength": MAX_EMAIL,
    "pattern": f"^{LOCAL}{{1,{MAX_LOCAL}}}@{LABEL}(\\.{LABEL})+$",
    "description": "As in HTML's input type=email, with a dot in the domain; unique among users; "
    "kept in lower case.",
    "examples": ["ada@example.com"],
}

ROLE_SCHEMA = {
    "type": "string",
    "enum": list(get_args(Role)),
    "description": "A new user without one is a `member`.",
}
PASSWORD_SCHEMA = {
    "type": "string",
    "minLength": MIN_PASSWORD,
    "maxLength": MAX_PASSWORD,
    "writeOnly": True,
    "description": f"{MIN_PASSWORD} to {MAX_PASSWORD} code points, whatever they are; in no answer.",
    "examples": ["correct horse battery staple"],
}
PASSWORD_OR_NULL_SCHEMA = {
    "anyOf": [PASSWORD_SCHEMA, {"type": "null"}],
    "description": "null takes the password away.",
}

Name = Annotated[str, PlainValidator(_name), WithJsonSchema(NAME_SCHEMA)]
Email = Annotated[str, PlainValidator(_email), WithJsonSchema(EMAIL_SCHEMA)]
# None stands for a member that was not sent; the validator still refuses a null.
NewName = Annotated[str | None, PlainValidator(_name), WithJsonSchema(NAME_SCHEMA)]
NewEmail = Annotated[str | None, PlainValidator(_email), WithJsonSchema(EMAIL_SCHEMA)]
NewRole = Annotated[str | None, PlainValidator(_role), WithJsonSchema(ROLE_SCHEMA)]
NewPassword = Annotated[str | None, PlainValidator(_password), WithJsonSchema(PASSWORD_SCHEMA)]
NewPasswordOrNull = Annotated[
    str | None, PlainValidator(_password_or_null), WithJsonSchema(PASSWORD_OR_NULL_SCHEMA)
]


class NewUser(BaseModel):
    """The body of a creation or a replacement.

    Clauses: PASSWORD-08, ROLE-04, USR-CREATE-04, USR-REPLACE-02.
    """

    model_config = ConfigDict(extra="forbid")

    name: Name
    email: Email
    role: NewRole = None
    password: NewPassword = None


class UserChanges(BaseModel):
    """The body of a change: a JSON Merge Patch (RFC 7396).

    Clauses: PASSWORD-08, ROLE-04, USR-PATCH-01, USR-PATCH-04.
    """

    model_config = ConfigDict(extra="forbid")

    name: NewName = None
    email: NewEmail = None
    role: NewRole = None
    password: NewPasswordOrNull = None


@dataclass(slots=True)
class User:
    """A user as clients see it; its members stand in this order.

    Clauses: PASSWORD-10, REP-03, REP-08.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    id: Annotated[int, Field(ge=1, le=MAX_INTEGER)]
    name: str
    email: str
    role: Role
    created_at: Annotated[str, Field(pattern=TIMESTAMP)]
    updated_at: Annotated[str, Field(pattern=TIMESTAMP)]
    version: Annotated[int, Field(ge=1, le=MAX_INTEGER)]

    @property
    def etag(self) -> str:
        """The strong entity tag of this version (RFC 9110, 8.8.3).

        Clauses: COND-01, USR-CREATE-03.
        """
        return f'"{self.version}"'


UserJson = TypeAdapter(User)
UsersJson = TypeAdapter(list[User])
