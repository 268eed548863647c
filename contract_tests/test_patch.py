"""PATCH /users/{id}: JSON Merge Patch (RFC 7396)."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from contract_tests.harness.client import Client
from contract_tests.harness.expect import MAX_ID, empty, error, problem, unique_email, user

MERGE_PATCH = {"content-type": "application/merge-patch+json"}


@pytest.mark.clause("USR-PATCH-01")
@pytest.mark.parametrize("headers", [{}, MERGE_PATCH], ids=["json", "merge-patch"])
@pytest.mark.parametrize("member", ["name", "email"])
def test_200_changes_what_is_named(api: Client, member: str, headers: dict[str, str]) -> None:
    ada = api.create()
    path = f"/users/{ada['id']}"
    members = {member: {"name": "Countess of Lovelace", "email": unique_email()}[member]}
    answer = api.patch(path, json=members, headers=headers)
    after = user(answer, 200, **{**ada, **members, "version": 2, "updated_at": None})
    user(api.get(path), 200, **after)


@pytest.mark.clause("USR-PATCH-01")
def test_200_touches_no_other_user(api: Client) -> None:
    ada, eve = api.create(), api.create()
    answer = api.patch(f"/users/{ada['id']}", json={"name": "Countess"})
    user(answer, 200, **{**ada, "name": "Countess", "version": 2, "updated_at": None})
    user(api.get(f"/users/{eve['id']}"), 200, **eve)


@pytest.mark.clause("USR-PATCH-02")
@pytest.mark.parametrize("headers", [{}, MERGE_PATCH], ids=["json", "merge-patch"])
def test_200_an_empty_patch_changes_nothing(api: Client, headers: dict[str, str]) -> None:
    ada = api.create()
    path = f"/users/{ada['id']}"
    time.sleep(0.002)
    user(api.patch(path, json={}, headers=headers), 200, **ada)
    user(api.get(path), 200, **ada)


@pytest.mark.clause("USR-PATCH-03")
@pytest.mark.parametrize("spelling", ["name", "email", "both", "untrimmed", "upper"])
def test_200_what_changes_nothing_leaves_the_version(api: Client, spelling: str) -> None:
    ada = api.create()
    path = f"/users/{ada['id']}"
    members = {
        "name": {"name": ada["name"]},
        "email": {"email": ada["email"]},
        "both": {"email": ada["email"], "name": ada["name"]},
        "untrimmed": {"name": f"\n {ada['name']}\t"},
        "upper": {"email": ada["email"].upper()},
    }[spelling]
    time.sleep(0.002)
    for _ in range(2):
        user(api.patch(path, json=members), 200, **ada)
    user(api.get(path), 200, **ada)


@pytest.mark.clause("USR-PATCH-03")
def test_200_back_to_the_former_value_is_a_change(api: Client) -> None:
    ada = api.create()
    path = f"/users/{ada['id']}"
    for version, name in ((2, "Countess"), (3, ada["name"])):
        answer = api.patch(path, json={"name": name})
        user(answer, 200, **{**ada, "name": name, "version": version, "updated_at": None})


@pytest.mark.clause("USR-PATCH-04", "USR-PATCH-07")
@pytest.mark.parametrize("headers", [{}, MERGE_PATCH], ids=["json", "merge-patch"])
@pytest.mark.parametrize("nulls", [("name",), ("email",), ("name", "email")], ids="+".join)
def test_422_null_has_the_wrong_type(
    api: Client, nulls: tuple[str, ...], headers: dict[str, str]
) -> None:
    ada = api.create()
    path = f"/users/{ada['id']}"
    members = {"name": "New", "email": unique_email(), **dict.fromkeys(nulls)}
    errors = [error("wrong-type", pointer=f"#/{member}") for member in nulls]
    problem(api.patch(path, json=members, headers=headers), "validation", errors)
    user(api.get(path), 200, **ada)


@pytest.mark.clause("USR-PATCH-05")
@pytest.mark.parametrize("members", [{}, {"name": "Ada"}], ids=json.dumps)
def test_404_no_such_user(api: Client, members: dict[str, str]) -> None:
    gone = api.create()["id"]
    empty(api.delete(f"/users/{gone}"), 204)
    for id_ in (MAX_ID, gone):
        problem(api.patch(f"/users/{id_}", json=members), "user-not-found")


@pytest.mark.clause("USR-PATCH-06", "USR-PATCH-07")
@pytest.mark.parametrize("change", [str, str.upper, str.title], ids=["same", "upper", "title"])
def test_409_email_of_another(api: Client, change: Callable[[str], str]) -> None:
    ada, eve = api.create(), api.create()
    path = f"/users/{eve['id']}"
    problem(api.patch(path, json={"email": change(ada["email"])}), "email-taken")
    problem(api.patch(path, json={"name": "New", "email": change(ada["email"])}), "email-taken")
    user(api.get(path), 200, **eve)
    user(api.get(f"/users/{ada['id']}"), 200, **ada)


@pytest.mark.clause("USR-PATCH-06")
def test_200_the_own_email_is_no_conflict(api: Client) -> None:
    ada = api.create()
    answer = api.patch(f"/users/{ada['id']}", json={"name": "New", "email": ada["email"].upper()})
    user(answer, 200, **{**ada, "name": "New", "version": 2, "updated_at": None})


@pytest.mark.clause("USR-PATCH-07")
@pytest.mark.parametrize(
    ("members", "errors"),
    [
        ({"name": "New", "email": "x"}, [error("malformed", pointer="#/email")]),
        ({"name": "", "email": "new@example.com"}, [error("too-short", pointer="#/name")]),
        ({"name": "New", "age": 36}, [error("unknown", pointer="#/age")]),
        ({"name": "New", "version": 1}, [error("unknown", pointer="#/version")]),
        ({"name": "New", "id": None}, [error("unknown", pointer="#/id")]),
        ([{"op": "remove", "path": "/name"}], [error("wrong-type", pointer="#")]),
        ([], [error("wrong-type", pointer="#")]),
        ("New", [error("wrong-type", pointer="#")]),
    ],
    ids=["email", "name", "unknown", "version", "null", "json-patch", "array", "text"],
)
def test_422_leaves_the_user(api: Client, members: Any, errors: list[dict[str, str]]) -> None:
    ada = api.create()
    path = f"/users/{ada['id']}"
    problem(api.patch(path, json=members), "validation", errors)
    user(api.get(path), 200, **ada)


@pytest.mark.clause("USR-PATCH-08")
def test_200_a_change_of_both_is_one(api: Client) -> None:
    ada = api.create()
    path = f"/users/{ada['id']}"
    members = {"name": "Countess", "email": unique_email()}
    after = {**ada, **members, "version": 2, "updated_at": None}
    after = user(api.patch(path, json=members), 200, **after)
    user(api.get(path), 200, **after)


@pytest.mark.clause("USR-PATCH-09")
def test_change_is_stored_when_the_200_is_sent(api: Client) -> None:
    ada = api.create()
    path = f"/users/{ada['id']}"
    for version in range(2, 7):
        after = {**ada, "name": f"Ada {version}", "version": version, "updated_at": None}
        after = user(api.patch(path, json={"name": after["name"]}), 200, **after)
        user(api.raw(api.message("GET", path)), 200, **after)
