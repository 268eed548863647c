"""What comes in and goes out: a webhook, and its deliveries as clients see them."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from python_api.events.schemas import TYPES
from python_api.http.requests import MAX_INTEGER
from python_api.users.schemas import TIMESTAMP
from python_api.webhooks.endpoints import parse_url

# In code points.
MAX_URL = 2000
# 32 bytes, as Standard Webhooks has them (HOOK-02).
SECRET = "^whsec_[A-Za-z0-9+/]{43}=$"
# A status, or why there was none (HOOK-13).
OUTCOME = "^([1-9][0-9]{2}|timeout|forbidden-address|unreachable)$"

Type = Literal["user.created", "user.changed", "user.deleted"]


def _url(value: object) -> str:
    """Where events are sent. Clauses: HOOK-03, HOOK-04."""
    if not isinstance(value, str):
        raise PydanticCustomError("wrong-type", "not a string")
    if len(value) > MAX_URL:
        raise PydanticCustomError("too-long", "too long")
    if parse_url(value) is None:
        raise PydanticCustomError("malformed", "not a URL")
    return value


def _types(value: object) -> list[str]:
    """The types of events that are sent, in the order that they have. Clauses: HOOK-01, HOOK-05."""
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise PydanticCustomError("wrong-type", "not an array of strings")
    if not value or len({*value}) < len(value) or not {*value} <= {*TYPES}:
        raise PydanticCustomError("malformed", "not types of events, each once")
    return [each for each in TYPES if each in value]


URL_SCHEMA = {
    "type": "string",
    "maxLength": MAX_URL,
    "pattern": "^https?://",
    "description": "`https` and a public address, but for what the service's settings allow; "
    "no user and no fragment.",
    "examples": ["https://example.com/hooks/users"],
}
TYPES_SCHEMA = {
    "type": "array",
    "minItems": 1,
    "uniqueItems": True,
    "items": {"type": "string", "enum": [*TYPES]},
    "description": "Without it, all of them.",
}
Url = Annotated[str, PlainValidator(_url), WithJsonSchema(URL_SCHEMA)]
# None stands for a member that was not sent; the validator still refuses a null.
Types = Annotated[list[str] | None, PlainValidator(_types), WithJsonSchema(TYPES_SCHEMA)]


class NewWebhook(BaseModel):
    """The body of a creation. Clauses: HOOK-03."""

    model_config = ConfigDict(extra="forbid")

    url: Url
    types: Types = None


@dataclass(slots=True)
class Webhook:
    """A webhook as clients see it; its members stand in this order. Clauses: HOOK-01, HOOK-07."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    id: Annotated[int, Field(ge=1, le=MAX_INTEGER)]
    url: str
    types: list[Type]
    created_at: Annotated[str, Field(pattern=TIMESTAMP)]
    ended_at: Annotated[str, Field(pattern=TIMESTAMP)] | None


@dataclass(slots=True)
class CreatedWebhook(Webhook):
    """A webhook as it is shown once, to whoever creates it. Clauses: HOOK-01."""

    secret: Annotated[str, Field(pattern=SECRET)]


@dataclass(slots=True)
class Delivery:
    """What is still to be done to have an event at an endpoint. Clauses: HOOK-20."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    event: Annotated[str, Field(pattern="^[1-9][0-9]*$")]
    """The event's position."""
    status: Literal["waiting", "dead"]
    attempts: Annotated[int, Field(ge=0, le=MAX_INTEGER)]
    outcome: Annotated[str, Field(pattern=OUTCOME)] | None
    due_at: Annotated[str, Field(pattern=TIMESTAMP)] | None


WebhookJson = TypeAdapter(Webhook)
WebhooksJson = TypeAdapter(list[Webhook])
CreatedWebhookJson = TypeAdapter(CreatedWebhook)
DeliveryJson = TypeAdapter(Delivery)
DeliveriesJson = TypeAdapter(list[Delivery])
