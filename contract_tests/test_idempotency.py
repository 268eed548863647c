"""Idempotency-Key on POST /users."""

import hashlib
import json
import time
from typing import Any

import pytest

from contract_tests.harness.client import Client
from contract_tests.harness.expect import (
    empty,
    error,
    problem,
    replay,
    unique,
    unique_email,
    user,
    users,
)
from contract_tests.harness.services import Service
from contract_tests.harness.wire import Answer

JSON = ("content-type", "application/json")
MALFORMED = [error("malformed", header="Idempotency-Key")]


def fresh(**members: str) -> dict[str, Any]:
    """A valid body with an email of its own, and these members."""
    return {"name": "Ada", "email": unique_email(), **members}


def create(api: Client, key: str, members: dict[str, Any], **headers: str) -> Answer:
    return api.post("/users", json=members, headers={"Idempotency-Key": key, **headers})


def first(api: Client, key: str, members: dict[str, Any]) -> tuple[Answer, dict[str, Any]]:
    """A creation under the key, checked: its answer and its user."""
    answer = create(api, key, members)
    return answer, user(answer, 201, **members)


@pytest.mark.clause("IDEM-01", "IDEM-02")
def test_201_once_and_then_its_replay(api: Client) -> None:
    key, members = unique(), fresh()
    answer, ada = first(api, key, members)
    for _ in range(3):
        replay(create(api, key, members), answer)
    users(api.get(f"/users?q={ada['email']}"), [ada], next=False)


@pytest.mark.clause("IDEM-01")
def test_without_a_key_nothing_is_replayed(api: Client) -> None:
    members = fresh()
    user(api.post("/users", json=members), 201, **members)
    problem(api.post("/users", json=members), "email-taken")
    problem(create(api, unique(), members), "email-taken")


@pytest.mark.clause("IDEM-02")
def test_replay_of_a_body_that_was_normalised(api: Client) -> None:
    key = unique()
    members = fresh(name=" Zoë \U0001f600 ", email=unique_email().upper())
    answer = create(api, key, members)
    user(answer, 201, name="Zoë \U0001f600", email=members["email"].lower())
    replay(create(api, key, members), answer)


@pytest.mark.clause("IDEM-02")
def test_replay_whatever_else_the_request_says(api: Client) -> None:
    key, members = unique(), fresh()
    answer, _ = first(api, key, members)
    content_type = 'application/JSON; charset="UTF-8"'
    replay(create(api, key, members, **{"content-type": content_type}), answer)
    replay(create(api, key, members, **{"if-match": '"9"', "accept": "text/html"}), answer)
    headers = {"idempotency-key": key}
    replay(api.post("/users?limit=0&%", json=members, headers=headers), answer)


@pytest.mark.clause("IDEM-03")
def test_replay_has_the_request_id_of_its_request(api: Client) -> None:
    key, members = unique(), fresh()
    answer = create(api, key, members, **{"x-request-id": "first"})
    user(answer, 201, **members, request_id="first")
    replay(create(api, key, members, **{"x-request-id": "second"}), answer, request_id="second")
    third, fourth = create(api, key, members), create(api, key, members)
    replay(third, answer)
    replay(fourth, answer)
    assert third.header("x-request-id") != fourth.header("x-request-id")


@pytest.mark.clause("IDEM-04")
def test_replay_after_the_user_was_changed(api: Client) -> None:
    key, members = unique(), fresh()
    answer, ada = first(api, key, members)
    path = f"/users/{ada['id']}"
    changed = {**ada, "name": "Countess", "email": unique_email(), "version": 2}
    body = {"name": changed["name"], "email": changed["email"]}
    changed = user(api.put(path, json=body), 200, **{**changed, "updated_at": None})
    replay(create(api, key, members), answer)
    user(api.get(path), 200, **changed)


@pytest.mark.clause("IDEM-04")
def test_replay_after_the_user_was_deleted(api: Client) -> None:
    key, members = unique(), fresh()
    answer, ada = first(api, key, members)
    path = f"/users/{ada['id']}"
    empty(api.delete(path), 204)
    replay(create(api, key, members), answer)
    problem(api.get(path), "user-not-found")
    # The email is free all the same.
    user(api.post("/users", json=members), 201, **members)
    replay(create(api, key, members), answer)


@pytest.mark.clause("IDEM-05")
@pytest.mark.parametrize("change", ["email", "name", "space", "order", "escape", "duplicate"])
def test_422_another_body_under_the_key(api: Client, change: str) -> None:
    key, members = unique(), fresh()
    _, ada = first(api, key, members)
    name, email = members["name"], members["email"]
    content = {
        "email": json.dumps(fresh()),
        "name": json.dumps({**members, "name": "Eve"}),
        "space": json.dumps(members) + " ",
        "order": f'{{"email":"{email}","name":"{name}"}}',
        "escape": rf'{{"name":"\u0041da","email":"{email}"}}',
        "duplicate": f'{{"name":1,"name":"{name}","email":"{email}"}}',
    }[change]
    headers = [JSON, ("idempotency-key", key)]
    for _ in range(2):
        answer = api.post("/users", content=content.encode(), headers=headers)
        problem(answer, "idempotency-key-reused")
    users(api.get(f"/users?q={email}"), [ada], next=False)


@pytest.mark.clause("IDEM-06")
def test_keys_are_compared_character_for_character(api: Client) -> None:
    key = f"Key-{unique()}"
    answers = []
    for spelling in (key, key.upper(), key.lower(), key + "=", f'"{key}"', f"{key},{key}"):
        members = fresh()
        answers.append((spelling, members, first(api, spelling, members)[0]))
    for spelling, members, answer in answers:
        replay(create(api, spelling, members), answer)


@pytest.mark.clause("IDEM-07")
@pytest.mark.parametrize(
    "form",
    ["{}", "{:x<255}", "{}!\"#$%&'()*+,-./:;<=>?@[\\]^_`{{|}}~", "~{}", "0{}"],
    ids=["short", "255", "punctuation", "tilde", "digit"],
)
def test_visible_ascii_is_a_key(api: Client, form: str) -> None:
    key, members = form.format(unique()), fresh()
    answer, _ = first(api, key, members)
    replay(create(api, key, members), answer)


@pytest.mark.storeless
@pytest.mark.clause("IDEM-07")
def test_one_character_is_a_key(api: Client) -> None:
    # Invalid on purpose: one character is nobody's own, so nothing may be kept under it.
    problem(create(api, "k", {"name": "Ada"}), "validation", [error("missing", pointer="#/email")])


@pytest.mark.clause("IDEM-07")
@pytest.mark.parametrize(
    "keys",
    [
        ("",),
        ("k" * 256,),
        ("k" * 4000,),
        ("a b",),
        ("a\tb",),
        ("\xe9",),
        ("k\x80",),
        ("a", "a"),
        ("a", "b"),
        ("a", ""),
        ("", ""),
        ("a,",),
        (",",),
    ],
    ids=lambda keys: " + ".join(ascii(key)[1:-1][:20] for key in keys),
)
def test_400_malformed_key(api: Client, keys: tuple[str, ...]) -> None:
    members = fresh()
    headers = [("Idempotency-Key", key) for key in keys]
    answer = api.post("/users", json=members, headers=headers)
    problem(answer, "malformed-header", MALFORMED)
    users(api.get(f"/users?q={members['email']}"), [], next=False)


@pytest.mark.clause("IDEM-07")
def test_white_space_around_a_key_is_no_part_of_it(api: Client) -> None:
    key, members = unique(), fresh()
    answer, _ = first(api, key, members)
    headers = [("Content-Type", "application/json"), ("Idempotency-Key", f" \t{key}\t ")]
    content = json.dumps(members, separators=(",", ":")).encode()
    replay(api.raw(api.message("POST", "/users", headers, content)), answer)


@pytest.mark.clause("IDEM-08")
def test_key_is_free_after_a_failure(api: Client) -> None:
    key, taken = unique(), api.create()
    problem(
        create(api, key, {"name": "Ada", "email": "x"}),
        "validation",
        [error("malformed", pointer="#/email")],
    )
    problem(create(api, key, {"name": "Eve", "email": taken["email"]}), "email-taken")
    answer = create(api, key, fresh(), **{"content-type": "text/plain"})
    problem(answer, "unsupported-media-type")
    members = fresh()
    answer, _ = first(api, key, members)
    replay(create(api, key, members), answer)


@pytest.mark.clause("IDEM-08")
def test_409_is_not_replayed(api: Client) -> None:
    key, taken = unique(), api.create()
    members = {"name": "Eve", "email": taken["email"]}
    problem(create(api, key, members), "email-taken")
    empty(api.delete(f"/users/{taken['id']}"), 204)
    first(api, key, members)


@pytest.mark.clause("IDEM-09")
def test_what_is_wrong_with_the_request_comes_first(api: Client) -> None:
    key, members = unique(), fresh()
    answer, _ = first(api, key, members)
    errors = [error("too-short", pointer="#/name")]
    problem(create(api, key, {**members, "name": ""}), "validation", errors)
    headers = [JSON, ("idempotency-key", key)]
    problem(api.post("/users", content=b"{", headers=headers), "malformed-json")
    unsupported = create(api, key, members, **{"content-type": "text/plain"})
    problem(unsupported, "unsupported-media-type")
    headers.append(("content-encoding", "identity"))
    problem(api.post("/users", json=members, headers=headers), "unsupported-media-type")
    replay(create(api, key, members), answer)


@pytest.mark.clause("IDEM-10")
def test_key_comes_before_the_email(api: Client) -> None:
    key, members, taken = unique(), fresh(), api.create()
    answer, _ = first(api, key, members)
    replay(create(api, key, members), answer)  # and not 409
    reused = create(api, key, {"name": "Eve", "email": taken["email"]})
    problem(reused, "idempotency-key-reused")


@pytest.mark.clause("IDEM-11")
@pytest.mark.parametrize("key", ["", "a b", "\xe9", "k" * 256])
def test_malformed_key_is_ignored_elsewhere(api: Client, key: str) -> None:
    ada = api.create()
    path = f"/users/{ada['id']}"
    headers = [("Idempotency-Key", key), ("Idempotency-Key", key)]
    user(api.get(path, headers=headers), 200, **ada)
    users(api.get(f"/users?q={ada['email']}", headers=headers), [ada], next=False)
    after = {**ada, "name": "Countess", "version": 2, "updated_at": None}
    body = {"name": "Countess", "email": ada["email"]}
    after = user(api.put(path, json=body, headers=headers), 200, **after)
    user(api.patch(path, json={}, headers=headers), 200, **after)
    empty(api.delete(path, headers=headers), 204)


@pytest.mark.clause("IDEM-11")
def test_used_key_is_ignored_elsewhere(api: Client) -> None:
    key, members = unique(), fresh()
    answer, ada = first(api, key, members)
    path = f"/users/{ada['id']}"
    headers = {"idempotency-key": key}
    after = {**ada, "name": "Countess", "version": 2, "updated_at": None}
    body = {"name": "Countess", "email": ada["email"]}
    after = user(api.put(path, json=body, headers=headers), 200, **after)
    user(api.patch(path, json=members, headers=headers), 200, **{**ada, **at(3)})
    empty(api.delete(path, headers=headers), 204)
    problem(api.delete(path, headers=headers), "user-not-found")
    replay(create(api, key, members), answer)


def at(version: int) -> dict[str, Any]:
    """A later version, whose updated_at is checked by its form."""
    return {"version": version, "updated_at": None}


@pytest.mark.clause("IDEM-12")
@pytest.mark.settings(IDEMPOTENCY_TTL="1")
def test_key_is_new_after_its_time(service: Service) -> None:
    api, key, members = service.api, unique(), fresh()
    answer, ada = first(api, key, members)
    replay(create(api, key, members), answer)
    empty(api.delete(f"/users/{ada['id']}"), 204)
    time.sleep(1.1)
    again, eve = first(api, key, members)
    assert eve["id"] != ada["id"]
    replay(create(api, key, members), again)


@pytest.mark.clause("IDEM-13")
def test_concurrent_requests_with_one_key_create_one_user(api: Client) -> None:
    key, members = unique(), fresh()
    content = json.dumps(members).encode()
    headers = [("Content-Type", "application/json"), ("Idempotency-Key", key)]
    answers = api.at_once([api.message("POST", "/users", headers, content)] * 20)
    created = [answer for answer in answers if answer.header("idempotency-replayed") is None]
    assert len(created) == 1, [answer.status for answer in answers]
    ada = user(created[0], 201, **members)
    for answer in answers:
        if answer is not created[0]:
            replay(answer, created[0])
    users(api.get(f"/users?q={ada['email']}"), [ada], next=False)


@pytest.mark.clause("IDEM-13", "IDEM-05")
def test_concurrent_bodies_under_one_key_create_one_user(api: Client) -> None:
    key, token = unique(), unique()
    headers = [("Content-Type", "application/json"), ("Idempotency-Key", key)]
    bodies = [json.dumps(fresh(name=f"Ada {token}")).encode() for _ in range(10)]
    answers = api.at_once([api.message("POST", "/users", headers, body) for body in bodies])
    created = [answer for answer in answers if answer.status == 201]
    assert len(created) == 1, [answer.status for answer in answers]
    for answer in answers:
        if answer is not created[0]:
            problem(answer, "idempotency-key-reused")
    users(api.get(f"/users?q={token}"), [created[0].json()], next=False)


@pytest.mark.clause("IDEM-15")
def test_keys_hold_across_services(pair: tuple[Client, Client]) -> None:
    for one, other in (pair, pair[::-1]):
        key, members = unique(), fresh(name="Zoë \U0001f600")
        answer, ada = first(one, key, members)
        replay(create(other, key, members), answer)
        problem(create(other, key, fresh()), "idempotency-key-reused")
        user(other.get(f"/users/{ada['id']}"), 200, **ada)


@pytest.mark.engine("sqlite")
@pytest.mark.clause("IDEM-16")
def test_neither_key_nor_body_is_kept(service: Service) -> None:
    api, key, token, email = service.api, unique(), unique(), unique_email()
    content = f'{{"email":"{email}", "name":"\\u0041da {token}"}}'.encode()
    answer = api.post("/users", content=content, headers=[JSON, ("idempotency-key", key)])
    user(answer, 201, name=f"Ada {token}", email=email)
    kept = b"".join(file.read_bytes() for file in service.directory.glob(f"{service.file.name}*"))
    assert email.encode() in kept  # so what is not found below would have been
    assert key.encode() not in kept
    assert b"\\u0041da" not in kept
    for digest in map(hashlib.new, ["md5", "sha1", "sha256", "sha512"]):
        digest.update(content)
        assert digest.hexdigest().encode() not in kept
        assert digest.digest() not in kept
