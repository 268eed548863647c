"""PUT /users/{id}."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from contract_tests.harness.client import Client
from contract_tests.harness.expect import (
    MAX_ID,
    empty,
    error,
    problem,
    unique_email,
    user,
    users,
)


@pytest.mark.clause("USR-REPLACE-01")
@pytest.mark.parametrize("changed", [("name", "email"), ("name",), ("email",)], ids="+".join)
def test_200_the_changed_user(api: Client, changed: tuple[str, ...]) -> None:
    ada = api.create()
    path = f"/users/{ada['id']}"
    new = {"name": "Countess of Lovelace", "email": unique_email()}
    members = {member: new[member] if member in changed else ada[member] for member in new}
    answer = api.put(path, json=members)
    after = {**ada, **members, "version": 2, "updated_at": answer.json()["updated_at"]}
    user(answer, 200, **after)
    user(api.get(path), 200, **after)


@pytest.mark.clause("USR-REPLACE-01")
def test_200_touches_no_other_user(api: Client) -> None:
    ada, eve = api.create(), api.create()
    answer = api.put(f"/users/{ada['id']}", json={"name": "Countess", "email": ada["email"]})
    user(answer, 200, **{**ada, "name": "Countess", "version": 2, "updated_at": None})
    user(api.get(f"/users/{eve['id']}"), 200, **eve)


@pytest.mark.clause("USR-REPLACE-02", "USR-REPLACE-06")
@pytest.mark.parametrize("sent", [(), ("name",), ("email",)], ids=["none", "name", "email"])
def test_422_missing(api: Client, sent: tuple[str, ...]) -> None:
    ada = api.create()
    path = f"/users/{ada['id']}"
    members = {member: {"name": "Eve", "email": unique_email()}[member] for member in sent}
    errors = [
        error("missing", pointer=f"#/{member}")
        for member in ("name", "email")
        if member not in sent
    ]
    problem(api.put(path, json=members), "validation", errors)
    user(api.get(path), 200, **ada)


@pytest.mark.clause("JSON-16", "USR-REPLACE-06")
def test_422_what_get_gave(api: Client) -> None:
    ada = api.create()
    path = f"/users/{ada['id']}"
    unknown = ("created_at", "id", "updated_at", "version")
    errors = [error("unknown", pointer=f"#/{member}") for member in unknown]
    problem(api.put(path, json=ada), "validation", errors)
    user(api.get(path), 200, **ada)


@pytest.mark.clause("USR-REPLACE-03")
def test_404_does_not_create(api: Client) -> None:
    gone = api.create()["id"]
    empty(api.delete(f"/users/{gone}"), 204)
    for id_ in (MAX_ID, gone):
        email = unique_email()
        problem(api.put(f"/users/{id_}", json={"name": "Ada", "email": email}), "user-not-found")
        problem(api.get(f"/users/{id_}"), "user-not-found")
        users(api.get(f"/users?q={email}"), [], next=False)


@pytest.mark.clause("USR-REPLACE-04")
@pytest.mark.parametrize("spelling", ["same", "untrimmed", "upper"])
def test_200_what_changes_nothing_leaves_the_version(api: Client, spelling: str) -> None:
    ada = api.create()
    path = f"/users/{ada['id']}"
    name = f" \t{ada['name']}\r\n" if spelling == "untrimmed" else ada["name"]
    email = ada["email"].upper() if spelling == "upper" else ada["email"]
    time.sleep(0.002)
    for _ in range(2):
        user(api.put(path, json={"name": name, "email": email}), 200, **ada)
    user(api.get(path), 200, **ada)


@pytest.mark.clause("USR-REPLACE-04", "NAME-07")
@pytest.mark.parametrize(
    ("before", "after"), [("ada", "Ada"), ("é", "e\u0301"), ("a b", "a  b"), ("K", "\u212a")]
)
def test_200_the_smallest_change_of_a_name_is_one(api: Client, before: str, after: str) -> None:
    ada = api.create(name=before)
    answer = api.put(f"/users/{ada['id']}", json={"name": after, "email": ada["email"]})
    user(answer, 200, **{**ada, "name": after, "version": 2, "updated_at": None})


@pytest.mark.clause("USR-REPLACE-05", "USR-REPLACE-06")
@pytest.mark.parametrize("change", [str, str.upper, str.title], ids=["same", "upper", "title"])
def test_409_email_of_another(api: Client, change: Callable[[str], str]) -> None:
    ada, eve = api.create(), api.create()
    path = f"/users/{eve['id']}"
    problem(api.put(path, json={"name": "New", "email": change(ada["email"])}), "email-taken")
    user(api.get(path), 200, **eve)
    user(api.get(f"/users/{ada['id']}"), 200, **ada)


@pytest.mark.clause("USR-REPLACE-05")
def test_200_the_own_email_is_no_conflict(api: Client) -> None:
    ada = api.create()
    answer = api.put(f"/users/{ada['id']}", json={"name": "New", "email": ada["email"].upper()})
    user(answer, 200, **{**ada, "name": "New", "version": 2, "updated_at": None})


@pytest.mark.clause("USR-REPLACE-06")
@pytest.mark.parametrize(
    ("members", "errors"),
    [
        ({"name": "New", "email": "x"}, [error("malformed", pointer="#/email")]),
        ({"name": "", "email": "new@example.com"}, [error("too-short", pointer="#/name")]),
        ({"name": "New", "email": None}, [error("wrong-type", pointer="#/email")]),
        ([], [error("wrong-type", pointer="#")]),
    ],
    ids=["email", "name", "null", "array"],
)
def test_422_leaves_the_user(api: Client, members: Any, errors: list[dict[str, str]]) -> None:
    ada = api.create()
    path = f"/users/{ada['id']}"
    problem(api.put(path, json=members), "validation", errors)
    user(api.get(path), 200, **ada)


@pytest.mark.clause("USR-REPLACE-07")
def test_change_is_stored_when_the_200_is_sent(api: Client) -> None:
    ada = api.create()
    path = f"/users/{ada['id']}"
    for version in range(2, 7):
        members = {"name": f"Ada {version}", "email": ada["email"]}
        after = {**ada, **members, "version": version, "updated_at": None}
        after = user(api.put(path, json=members), 200, **after)
        user(api.raw(api.message("GET", path)), 200, **after)
