"""POST /users."""

from collections.abc import Callable
from typing import Any

import pytest

from contract_tests.harness.client import Client
from contract_tests.harness.expect import error, problem, unique, unique_email, user, users

MISSING_NAME = error("missing", pointer="#/name")
MISSING_EMAIL = error("missing", pointer="#/email")


@pytest.mark.clause("USR-CREATE-01", "USR-CREATE-02", "USR-CREATE-03", "REP-07")
def test_201_the_new_user(api: Client) -> None:
    members = {"name": "Ada Lovelace", "email": unique_email()}
    answer = api.post("/users", json=members)
    ada = user(answer, 201, name=members["name"], email=members["email"], version=1)
    assert answer.header("location") == f"/users/{ada['id']}"
    assert answer.header("etag") == '"1"'


@pytest.mark.clause("USR-CREATE-01")
def test_201_whatever_the_order_of_the_members(api: Client) -> None:
    email = unique_email()
    user(api.post("/users", json={"email": email, "name": "Ada"}), 201, name="Ada", email=email)


@pytest.mark.clause("USR-CREATE-02")
@pytest.mark.parametrize("host", ["a.localhost", "127.0.0.7:8080", "[::1]:80"])
def test_location_does_not_depend_on_the_host(api: Client, host: str) -> None:
    email = unique_email()
    headers = {"host": host, "x-forwarded-host": "example.com", "x-forwarded-proto": "https"}
    answer = api.post("/users", json={"name": "Ada", "email": email}, headers=headers)
    user(answer, 201, name="Ada", email=email)  # Location among the rest


@pytest.mark.storeless
@pytest.mark.clause("USR-CREATE-04")
@pytest.mark.parametrize(
    ("members", "errors"),
    [
        ({}, [MISSING_NAME, MISSING_EMAIL]),
        ({"name": "Ada"}, [MISSING_EMAIL]),
        ({"email": "ada@example.com"}, [MISSING_NAME]),
    ],
    ids=["both", "email", "name"],
)
def test_422_missing(api: Client, members: dict[str, str], errors: list[dict[str, str]]) -> None:
    problem(api.post("/users", json=members), "validation", errors)


@pytest.mark.clause("USR-CREATE-05")
def test_user_is_stored_when_the_201_is_sent(api: Client) -> None:
    for _ in range(10):
        ada = api.create()
        # A connection of its own, so that it overtakes whatever the first has still to do.
        answer = api.raw(api.message("GET", f"/users/{ada['id']}"))
        user(answer, 200, **ada)


@pytest.mark.clause("USR-CREATE-06")
@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({"email": "ada"}, [error("malformed", pointer="#/email")]),
        ({"id": 1}, [error("unknown", pointer="#/id")]),
    ],
    ids=["email", "unknown"],
)
def test_422_stores_nothing(
    api: Client, changes: dict[str, Any], errors: list[dict[str, str]]
) -> None:
    token = unique()
    members = {"name": f"Ada {token}", "email": unique_email(), **changes}
    problem(api.post("/users", json=members), "validation", errors)
    users(api.get(f"/users?q={token}"), [], next=False)


@pytest.mark.clause("USR-CREATE-06")
def test_415_stores_nothing(api: Client) -> None:
    email = unique_email()
    headers = {"content-type": "text/plain"}
    answer = api.post("/users", json={"name": "Ada", "email": email}, headers=headers)
    problem(answer, "unsupported-media-type")
    users(api.get(f"/users?q={email}"), [], next=False)


@pytest.mark.clause("USR-CREATE-06", "USR-CREATE-07")
@pytest.mark.parametrize("change", [str, str.upper, str.title], ids=["same", "upper", "title"])
def test_409_email_taken(api: Client, change: Callable[[str], str]) -> None:
    ada, token = api.create(), unique()
    members = {"name": f"Eve {token}", "email": change(ada["email"])}
    problem(api.post("/users", json=members), "email-taken")
    users(api.get(f"/users?q={token}"), [], next=False)
    user(api.get(f"/users/{ada['id']}"), 200, **ada)


@pytest.mark.clause("USR-CREATE-07")
def test_409_once_the_user_got_the_email_by_a_change(api: Client) -> None:
    ada, email = api.create(), unique_email()
    answer = api.patch(f"/users/{ada['id']}", json={"email": email.upper()})
    assert user(answer, 200, name=ada["name"], email=email, version=2)["id"] == ada["id"]
    problem(api.post("/users", json={"name": "Eve", "email": email}), "email-taken")


@pytest.mark.clause("USR-CREATE-08")
def test_two_users_may_share_a_name(api: Client) -> None:
    name = f"Ada {unique()}"
    first, second = api.create(name=name), api.create(name=name)
    assert first["id"] != second["id"]
    user(api.get(f"/users/{first['id']}"), 200, **first)
    user(api.get(f"/users/{second['id']}"), 200, **second)


@pytest.mark.clause("USR-CREATE-01", "HDR-02")
def test_a_sent_request_id_comes_back(api: Client) -> None:
    email = unique_email()
    headers = {"x-request-id": "create.1-a_B"}
    answer = api.post("/users", json={"name": "Ada", "email": email}, headers=headers)
    user(answer, 201, name="Ada", email=email, request_id="create.1-a_B")
