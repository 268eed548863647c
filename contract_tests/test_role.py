"""ROLE: what a user is allowed to be."""

import json
import time
from typing import Any

import pytest

from contract_tests.harness.client import Client
from contract_tests.harness.expect import (
    MAX_ID,
    error,
    problem,
    render,
    unique,
    unique_email,
    user,
    users,
)

NOBODY = f"/users/{MAX_ID}"
JSON = {"content-type": "application/json"}
WRITES = [("POST", "/users"), ("PUT", NOBODY), ("PATCH", NOBODY)]


def fields(**members: Any) -> dict[str, Any]:
    """A valid body with an email of its own, and these members."""
    return {"name": f"Ada {unique()}", "email": unique_email(), **members}


def created(api: Client, **members: Any) -> dict[str, Any]:
    """A new user with these members, checked."""
    sent = fields(**members)
    return user(api.post("/users", json=sent), 201, **sent)


def after(before: dict[str, Any], **members: Any) -> dict[str, Any]:
    """The user one change later."""
    return {**before, **members, "version": before["version"] + 1, "updated_at": None}


@pytest.mark.clause("ROLE-01", "REP-03", "REP-10", "USR-CREATE-01")
@pytest.mark.parametrize("role", ["admin", "member"])
def test_new_user_has_the_role_that_was_sent(api: Client, role: str) -> None:
    sent = fields(role=role)
    answer = api.post("/users", json=sent)
    ada = user(answer, 201, **sent)
    assert list(answer.json()) == [
        *("id", "name", "email", "role", "created_at", "updated_at", "version"),
    ]
    user(api.get(f"/users/{ada['id']}"), 200, **ada)
    users(api.get(f"/users?q={ada['email']}"), [ada], next=False)


@pytest.mark.clause("ROLE-03")
def test_new_user_without_a_role_is_a_member(api: Client) -> None:
    sent = fields()
    ada = user(api.post("/users", json=sent), 201, **sent, role="member")
    user(api.get(f"/users/{ada['id']}"), 200, **ada)


@pytest.mark.storeless
@pytest.mark.clause("ROLE-01")
@pytest.mark.parametrize(
    "role",
    [
        *[
            "",
            " ",
            "Admin",
            "ADMIN",
            "aDmin",
            "Member",
            "MEMBER",
            "admins",
            "members",
            "adm",
            "user",
        ],
        *[
            "root",
            "owner",
            "guest",
            "none",
            "null",
            "0",
            "1",
            "true",
            " admin",
            "admin ",
            "admin\n",
        ],
        *["\tmember", "member\r\n", "member\x00", "\x00", "admin,member", "admin member", "*"],
        *["\ufeffadmin", "admin\u200b", "\u0430dmin", "adm\u0131n", "\uff41dmin", "ad\u00admin"],
        *["__proto__", "constructor", "toString", "\ud800", "admin\udc00", "a" * 60_000],
    ],
    ids=lambda role: ascii(role)[:20],
)
def test_any_other_text_is_malformed(api: Client, role: str) -> None:
    for method, path in WRITES:
        content = json.dumps(fields(role=role)).encode()
        answer = api.request(method, path, content=content, headers=JSON)
        problem(answer, "validation", [error("malformed", pointer="#/role")])


@pytest.mark.storeless
@pytest.mark.clause("ROLE-02")
@pytest.mark.parametrize(
    "role",
    [None, True, False, 0, 1, 1.5, [], {}, ["admin"], {"role": "admin"}],
    ids=json.dumps,
)
def test_what_is_no_text_has_the_wrong_type(api: Client, role: Any) -> None:
    for method, path in WRITES:
        answer = api.request(method, path, json=fields(role=role))
        problem(answer, "validation", [error("wrong-type", pointer="#/role")])


@pytest.mark.clause("ROLE-01", "ROLE-05", "REP-07", "REP-11")
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_another_role_is_a_change(api: Client, method: str) -> None:
    ada = created(api)
    path = f"/users/{ada['id']}"
    same = {"name": ada["name"], "email": ada["email"]} if method == "PUT" else {}
    for role in ("admin", "member", "admin"):
        time.sleep(0.002)
        before = ada["updated_at"]
        answer = api.request(method, path, json={**same, "role": role})
        ada = user(answer, 200, **after(ada, role=role))
        assert ada["updated_at"] > before
        user(api.get(path), 200, **ada)


@pytest.mark.clause("ROLE-05", "USR-REPLACE-04", "USR-PATCH-03")
@pytest.mark.parametrize("role", ["admin", "member"])
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_the_same_role_is_no_change(api: Client, method: str, role: str) -> None:
    ada = created(api, role=role)
    path = f"/users/{ada['id']}"
    same = {"name": ada["name"], "email": ada["email"]} if method == "PUT" else {}
    time.sleep(0.002)
    for _ in range(2):
        user(api.request(method, path, json={**same, "role": role}), 200, **ada)
    user(api.get(path), 200, **ada)


@pytest.mark.clause("ROLE-04")
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("role", ["admin", "member"])
def test_what_names_no_role_leaves_it(api: Client, role: str, method: str) -> None:
    ada = created(api, role=role)
    path = f"/users/{ada['id']}"
    same = {"name": ada["name"], "email": ada["email"]}
    user(api.request(method, path, json=same), 200, **ada)
    for changes in ({"name": f"Countess {unique()}"}, {"email": unique_email()}):
        same |= changes
        ada = user(api.request(method, path, json=same), 200, **after(ada, **changes))
    user(api.get(path), 200, **ada)


@pytest.mark.clause("ROLE-05", "USR-PATCH-08", "REP-10")
def test_a_role_and_a_name_are_one_change(api: Client) -> None:
    ada = created(api)
    path = f"/users/{ada['id']}"
    changes = {"role": "admin", "name": f"Countess {unique()}"}
    answer = api.patch(path, json=changes)
    ada = user(answer, 200, **after(ada, **changes))
    assert answer.body == render(ada)
    user(api.get(path), 200, **ada)


@pytest.mark.clause("ROLE-05", "COND-02", "USR-PATCH-07")
def test_a_change_of_role_is_held_to_its_condition(api: Client) -> None:
    ada = created(api)
    path = f"/users/{ada['id']}"
    stale, current = ({"if-match": etag} for etag in ('"2"', '"1"'))
    problem(api.patch(path, json={"role": "admin"}, headers=stale), "version-mismatch")
    user(api.get(path), 200, **ada)
    answer = api.patch(path, json={"role": "admin"}, headers=current)
    user(answer, 200, **after(ada, role="admin"))


@pytest.mark.clause("ROLE-01", "USR-REPLACE-06", "USR-PATCH-07")
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_broken_role_changes_nothing(api: Client, method: str) -> None:
    ada = created(api, role="admin")
    path = f"/users/{ada['id']}"
    answer = api.request(method, path, json=fields(role="Member"))
    problem(answer, "validation", [error("malformed", pointer="#/role")])
    user(api.get(path), 200, **ada)


@pytest.mark.clause("ROLE-01", "USR-LIST-10")
def test_q_does_not_find_by_role(api: Client) -> None:
    token = unique()
    sent = fields(name=token, role="admin")
    user(api.post("/users", json=sent), 201, **sent)
    users(api.get(f"/users?q=admin%20{token}"), [], next=False)
    users(api.get(f"/users?q={token}admin"), [], next=False)
