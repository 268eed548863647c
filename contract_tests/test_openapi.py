"""DOC: the OpenAPI document."""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from contract_tests.harness import clauses, expect, services
from contract_tests.harness.client import Client
from contract_tests.harness.services import Kind, Service

Document = dict[str, Any]

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
FORM = "application/x-www-form-urlencoded"
PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Operation:
    """What the contract says of a route: beside what holds for all of them."""

    successes: dict[str, set[str]]
    """The statuses below 400, and the header fields of each."""
    problems: set[str] = field(default_factory=set)
    parameters: set[str] = field(default_factory=set)
    bodies: set[str] = field(default_factory=set)


WITH_PROBLEMS = {
    "401": {"WWW-Authenticate"},
    "403": {"WWW-Authenticate"},
    "426": {"Sec-WebSocket-Version", "Upgrade"},
    "429": {"Retry-After"},
    "503": {"Retry-After"},
}
HEADERS = {"Cache-Control", "X-Content-Type-Options", "X-Request-Id"}
PROBLEMS = {"bad-request", "headers-too-large", "internal"}
PARAMETERS = {"header X-Request-Id"}

BODY = {"unsupported-media-type", "body-too-large", "malformed-json", "validation", "overloaded"}
OF_TOKENS = {"unauthorized", "forbidden", "provider-unavailable", "too-many-registrations"}
GUARDED = {"unauthorized", "forbidden", "unavailable", "provider-unavailable"}
ONE = GUARDED | {"validation", "user-not-found", "malformed-header"}
CHANGE = ONE | {"version-mismatch"}
# No password is hashed there.
WEBHOOK_BODY = BODY - {"overloaded"}
WEBHOOK = GUARDED | {"validation", "webhook-not-found"}

OPERATIONS = {
    ("POST", "/users"): Operation(
        {"201": {"ETag", "Idempotency-Replayed", "Location"}},
        BODY
        | GUARDED
        | {"malformed-header", "idempotency-key-reused", "too-many-registrations", "email-taken"},
        {"header Idempotency-Key"},
        {JSON},
    ),
    ("GET", "/users"): Operation(
        {"200": {"Link"}},
        GUARDED | {"malformed-query", "validation"},
        {"query limit", "query sort", "query q", "query cursor"},
    ),
    ("GET", "/users/{id}"): Operation(
        {"200": {"ETag"}, "304": {"ETag"}}, ONE, {"path id", "header If-None-Match"}
    ),
    ("PUT", "/users/{id}"): Operation(
        {"200": {"ETag"}}, BODY | CHANGE | {"email-taken"}, {"path id", "header If-Match"}, {JSON}
    ),
    ("PATCH", "/users/{id}"): Operation(
        {"200": {"ETag"}},
        BODY | CHANGE | {"email-taken"},
        {"path id", "header If-Match"},
        {JSON, MERGE_PATCH},
    ),
    ("DELETE", "/users/{id}"): Operation({"204": set()}, CHANGE, {"path id", "header If-Match"}),
    ("GET", "/events"): Operation(
        {"200": {"Link"}},
        GUARDED | {"malformed-query", "validation", "events-gone"},
        {"query limit", "query sort", "query after"},
    ),
    ("GET", "/events/stream"): Operation(
        {"200": {"X-Accel-Buffering"}},
        GUARDED
        | {"malformed-header", "malformed-query", "validation", "events-gone", "too-many-streams"},
        {"header Last-Event-ID", "query after"},
    ),
    ("GET", "/events/socket"): Operation(
        {"101": set()},
        GUARDED | {"foreign-origin", "upgrade-required", "malformed-header", "too-many-streams"},
    ),
    ("POST", "/webhooks"): Operation(
        {"201": {"Location"}}, WEBHOOK_BODY | GUARDED | {"too-many-webhooks"}, bodies={JSON}
    ),
    ("GET", "/webhooks"): Operation({"200": set()}, GUARDED),
    ("GET", "/webhooks/{id}"): Operation({"200": set()}, WEBHOOK, {"path id"}),
    ("DELETE", "/webhooks/{id}"): Operation({"204": set()}, WEBHOOK, {"path id"}),
    ("GET", "/webhooks/{id}/deliveries"): Operation(
        {"200": {"Link"}},
        WEBHOOK | {"malformed-query"},
        {"path id", "query limit", "query after"},
    ),
    ("POST", "/webhooks/{id}/deliveries/{event}"): Operation(
        {"202": set()}, WEBHOOK | {"delivery-not-found"}, {"path id", "path event"}
    ),
    ("POST", "/auth/token"): Operation(
        {"200": set()},
        {"unsupported-media-type", "body-too-large", "too-many-failures"}
        | {"unavailable", "overloaded"},
        bodies={FORM},
    ),
    ("GET", "/healthz"): Operation({"200": set()}),
    ("GET", "/readyz"): Operation({"200": set()}, {"unavailable"}),
    ("GET", "/metrics"): Operation({"200": set()}),
}
# What a body is, where it isn't JSON.
KINDS = {("GET", "/metrics"): "text/plain", ("GET", "/events/stream"): "text/event-stream"}
GIVES_NO_TOKENS = Operation({}, {"unsupported-media-type", "body-too-large"}, bodies={FORM})


@pytest.fixture
def document(api: Client) -> Document:
    document: Document = api.get("/openapi.json").json()
    return document


@pytest.fixture
def others(api: Client, _clients: dict[str, Client]) -> list[str]:
    """The URLs of all that run as the target does: open, or secured."""
    alike = [one for one in _clients.values() if bool(one.login) == bool(api.login)]
    return [url for one in alike for url in one.urls]


def expected_of(api: Client, route: tuple[str, str]) -> Operation:
    """What the contract says of a route where the target runs as it does."""
    expected = OPERATIONS[route]
    left_out = {"provider-unavailable"} if api.login else OF_TOKENS
    if api.login or route != ("POST", "/auth/token"):
        return replace(expected, problems=expected.problems - left_out)
    return GIVES_NO_TOKENS


def operations(document: Document) -> dict[tuple[str, str], dict[str, Any]]:
    """Its operations, by method and path."""
    return {
        (method.upper(), path): described
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    }


def resolved(document: Document, described: dict[str, Any]) -> dict[str, Any]:
    """What stands here, or where it refers to."""
    while "$ref" in described:
        place: Any = document
        for name in described["$ref"].removeprefix("#/").split("/"):
            place = place[name]
        described = place
    return described


def examples(place: str, described: Any) -> Iterator[tuple[str, Any, Any]]:
    """Every example of the document, with its schema."""
    if isinstance(described, dict):
        if "schema" in described:
            schema = described["schema"]
            if "example" in described:
                yield place, described["example"], schema
            for name, example in described.get("examples", {}).items():
                yield f"{place} {name}", example["value"], schema
        elif isinstance(described.get("examples"), list):
            yield from ((place, example, described) for example in described["examples"])
        for name, inner in described.items():
            if name not in ("example", "value"):
                yield from examples(f"{place}/{name}", inner)
    elif isinstance(described, list):
        for index, inner in enumerate(described):
            yield from examples(f"{place}/{index}", inner)


@pytest.mark.storeless
@pytest.mark.clause("DOC-01")
def test_the_document_is_json(api: Client) -> None:
    answer = api.get("/openapi.json")
    expect.body(answer, 200, answer.body)
    assert set(answer.json()) == {"openapi", "info", "paths", "components"}


@pytest.mark.storeless
@pytest.mark.clause("DOC-02")
def test_all_services_have_the_same_document(document: Document, others: list[str]) -> None:
    for url in others:
        with contextlib.closing(Client(url)) as other:
            assert document == other.get("/openapi.json").json()


@pytest.mark.storeless
@pytest.mark.clause("DOC-03")
def test_the_document_is_valid(document: Document) -> None:
    assert document["openapi"].startswith("3.1.")
    assert [*OpenAPIV31SpecValidator(document).iter_errors()] == []


@pytest.mark.storeless
@pytest.mark.clause("DOC-04")
def test_every_route_is_described(document: Document) -> None:
    routes = {
        (method, path)
        for method, path in clauses.routes()
        if method not in ("HEAD", "OPTIONS") and not path.startswith(("/docs", "/openapi.json"))
    }
    assert set(OPERATIONS) == routes
    assert set(operations(document)) == routes
    named = [described["operationId"] for described in operations(document).values()]
    assert len(set(named)) == len(routes)
    for described in operations(document).values():
        assert described["summary"]
        assert described["description"]


@pytest.mark.storeless
@pytest.mark.clause("DOC-04")
@pytest.mark.parametrize("route", OPERATIONS, ids=" ".join)
def test_every_request_is_described(
    api: Client, document: Document, route: tuple[str, str]
) -> None:
    expected, described = expected_of(api, route), operations(document)[route]
    parameters = [resolved(document, parameter) for parameter in described["parameters"]]
    sent = [f"{parameter['in']} {parameter['name']}" for parameter in parameters]
    assert sorted(sent) == sorted(expected.parameters | PARAMETERS)
    for parameter in parameters:
        assert parameter["description"]
        assert parameter.get("required", False) == (parameter["in"] == "path")
    if expected.bodies:
        body = described["requestBody"]
        assert body["required"]
        assert [*body["content"]] == sorted(expected.bodies)
        assert all("example" in content for content in body["content"].values())
    else:
        assert "requestBody" not in described


@pytest.mark.storeless
@pytest.mark.clause("DOC-04")
@pytest.mark.parametrize("route", OPERATIONS, ids=" ".join)
def test_every_answer_is_described(api: Client, document: Document, route: tuple[str, str]) -> None:
    expected, described = expected_of(api, route), operations(document)[route]
    codes = expected.problems | PROBLEMS
    responses = described["responses"]
    failures = {str(expect.PROBLEMS[code].status) for code in codes}
    assert set(responses) == {*expected.successes, *failures}
    for status, response in responses.items():
        assert response["description"]
        headers = WITH_PROBLEMS.get(status) or expected.successes.get(status, set())
        if (route[0], status) == ("PATCH", "415"):
            headers = {"Accept-Patch"}
        if (route[1], status) == ("/events/socket", "403"):
            headers = set()  # not every problem of this status has a challenge
        assert set(response["headers"]) == headers | (
            {"X-Request-Id"} if status == "101" else HEADERS
        )
    for status in expected.successes:
        content = responses[status].get("content", {})
        kind = KINDS.get(route, JSON)
        assert set(content) == (set() if status in ("101", "204", "304") else {kind})
        assert all("example" in one for one in content.values())
    for status in failures:
        kinds = {**responses[status]["content"]}
        content = kinds.pop(PROBLEM)
        # The one answer that isn't a problem: RFC 6749 has a form of its own.
        of_oauth = route == ("POST", "/auth/token") and status == "400"
        assert set(kinds) == ({JSON} if of_oauth else set())
        examples = content["examples"]
        assert set(examples) == {
            code for code in codes if expect.PROBLEMS[code].status == int(status)
        }
        for code, example in examples.items():
            check_problem(example["value"], code)


def check_problem(value: dict[str, Any], code: str) -> None:
    """The problem as it is answered, errors included."""
    row = expect.PROBLEMS[code]
    shown = {
        "type": f"/problems/{code}",
        "title": row.title,
        "status": row.status,
        "detail": row.detail,
    }
    if code in ("validation", "malformed-header"):
        shown["errors"] = value["errors"]
        assert value["errors"]
        for error in value["errors"]:
            place = next(iter(error))
            assert error == expect.error(error["code"], **{place: error[place]})
    assert expect.render(value) == expect.render(shown)


@pytest.mark.storeless
@pytest.mark.clause("DOC-04")
def test_every_header_is_described(api: Client, document: Document) -> None:
    """Those that are in every answer are required, as are those that a status always has."""
    headers = document["components"]["headers"]
    named = HEADERS.union(
        {"Accept-Patch"},
        *WITH_PROBLEMS.values(),
        *(names for one in OPERATIONS.values() for names in one.successes.values()),
    )
    assert set(headers) == named - (set() if api.login else {"WWW-Authenticate"})
    for name, header in headers.items():
        assert header["description"]
        assert header.get("required", False) == (name not in ("Idempotency-Replayed", "Link"))


@pytest.mark.storeless
@pytest.mark.clause("DOC-04")
def test_every_example_is_valid(document: Document) -> None:
    shown = list(examples("#", document))
    assert len(shown) > 50
    for place, example, schema in shown:
        whole = {"components": document["components"], **schema}
        found = [error.message for error in Draft202012Validator(whole).iter_errors(example)]
        assert not found, f"{place}: {example} {found}"


TOKEN: list[dict[str, list[str]]] = [{"bearer": []}]
GIVES = services.SECURED
PROVIDED = {"AUTH_JWKS_URL": "http://127.0.0.1:1/keys"}
# How a service runs: what it asks of whoever creates a user, and of all others.
RUNS: dict[str, tuple[dict[str, str], Any, Any]] = {
    "open": ({}, None, None),
    "open, with a secret": ({**GIVES, "AUTH": "off"}, None, None),
    "secured": (GIVES, [{}, *TOKEN], TOKEN),
    "closed": ({**GIVES, "REGISTRATION": "closed"}, TOKEN, TOKEN),
    "provided": (PROVIDED, [{}, *TOKEN], TOKEN),
}


@pytest.mark.clause("DOC-11", "DOC-12", "DOC-02", "DOC-03")
@pytest.mark.engine("sqlite")
@pytest.mark.parametrize("runs", RUNS)
def test_the_document_is_of_the_service_as_it_runs(
    launched: Callable[..., Service], runs: str
) -> None:
    env, to_create, to_do_more = RUNS[runs]
    api = launched(**env).api.asking("")
    document = api.get("/openapi.json").json()
    assert [*OpenAPIV31SpecValidator(document).iter_errors()] == []
    schemes = document["components"].get("securitySchemes")
    assert (set(schemes) if schemes else None) == ({"bearer"} if to_do_more else None)
    assert ("WWW-Authenticate" in json.dumps(document)) == bool(to_do_more)
    found = operations(document)
    for (method, path), described in found.items():
        statuses, codes = set(described["responses"]), problem_codes(described)
        if path.startswith("/users"):
            wanted = to_create if (method, path) == ("POST", "/users") else to_do_more
            assert described.get("security") == wanted
            assert statuses & {"401", "403"} == ({"401", "403"} if to_do_more else set())
            assert ("provider-unavailable" in codes) == (runs == "provided")
            assert "unavailable" in codes
            ids = [one["schema"] for one in described["parameters"] if one["name"] == "id"]
            assert all(("me" in json.dumps(one)) == bool(to_do_more) for one in ids)
    token = found["POST", "/auth/token"]
    gives = runs in ("secured", "closed")
    assert ("200" in token["responses"]) == gives
    assert ("too-many-failures" in problem_codes(token)) == gives
    form = api.log_in(*services.ADMIN)
    assert form.status == (200 if gives else 400)
    assert str(form.status) in token["responses"]


def problem_codes(described: dict[str, Any]) -> set[str]:
    """The codes of the problems that an operation tells of."""
    return {
        code
        for response in described["responses"].values()
        for code in response.get("content", {}).get(PROBLEM, {}).get("examples", {})
    }


ADDED = {
    "operationId": "added",
    "summary": "A route of this test",
    "description": "It stands in no other document.",
    "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
    "responses": {"200": {"description": "Yes."}},
}

# The document of the service as it is, and with two routes more: of these one reads `If-Match`.
WITH_ADDED: dict[Kind, str] = {
    "python": """
import json, sys
from fastapi import APIRouter, Response
from python_api.app import create_app
from python_api.http.openapi import as_it_runs, openapi_document
from python_api.http.readers import IfMatch, ReadingRoute
from python_api.settings import read_settings
from python_api.users.docs import SCHEMAS

app = create_app(read_settings({}), None)
before = openapi_document(app, SCHEMAS)

router = APIRouter(route_class=ReadingRoute)

@router.get("/reads/{name}", openapi_extra=json.loads(sys.argv[1]))
async def reads(condition: IfMatch) -> Response: ...

@router.get("/reads-nothing/{name}", openapi_extra=json.loads(sys.argv[1]))
async def reads_nothing() -> Response: ...

app.router.routes += router.routes
after = openapi_document(app, SCHEMAS)

@app.get("/plain")
async def plain() -> Response: ...

as_it_runs(openapi_document(app, SCHEMAS), read_settings({}))
print(json.dumps([before, after]))
""",
    "node": """
import { createApp } from "./src/app.ts";
import { describeRoute } from "hono-openapi";
import { asItRuns, describe, openapiDocument } from "./src/http/openapi.ts";
import { ifMatch } from "./src/http/readers.ts";
import { readSettings } from "./src/settings.ts";
import { SCHEMAS } from "./src/users/docs.ts";

const app = createApp(readSettings({}), null);
const before = await openapiDocument(app, SCHEMAS);
const described = describe(JSON.parse(process.argv[1]));
app.get("/reads/:name", ifMatch, described, (c) => c.body(null));
app.get("/reads-nothing/:name", described, (c) => c.body(null));
const after = await openapiDocument(app, SCHEMAS);
app.get("/plain", describeRoute({ responses: {} }), (c) => c.body(null));
asItRuns(await openapiDocument(app, SCHEMAS), readSettings({}));
console.log(JSON.stringify([before, after]));
""",
}


@pytest.mark.clause("DOC-05", "DOC-02")
@pytest.mark.parametrize("kind", services.KINDS)
def test_a_route_that_is_added_appears_with_what_it_reads(kind: Kind) -> None:
    before, after = json.loads(services.run_code(WITH_ADDED, kind, json.dumps(ADDED)))
    assert set(operations(before)) == set(OPERATIONS)
    (reads,) = after["paths"].pop("/reads/{name}").values()
    (reads_nothing,) = after["paths"].pop("/reads-nothing/{name}").values()
    assert after == before
    assert [one["name"] for one in reads_nothing["parameters"]] == ["name", "X-Request-Id"]
    assert [*problems_of(reads_nothing, "400")] == ["bad-request"]
    # What a reader reads stands there with it, and goes with it.
    condition = reads["parameters"].pop(0)
    assert (condition["in"], condition["name"]) == ("header", "If-Match")
    malformed = problems_of(reads, "400").pop("malformed-header")
    check_problem(malformed["value"], "malformed-header")
    assert reads == reads_nothing


def problems_of(described: dict[str, Any], status: str) -> dict[str, Any]:
    """The examples of the problems of a status, by code."""
    examples: dict[str, Any] = described["responses"][status]["content"][PROBLEM]["examples"]
    return examples
