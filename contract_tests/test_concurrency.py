"""UNIQ and the concurrent side of IDEM: N requests sent before the first answer is read."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from contract_tests.harness import expect
from contract_tests.harness.client import Client
from contract_tests.harness.wire import Answer

JSON = ("Content-Type", "application/json")


def creations(api: Client, count: int) -> list[dict[str, Any]]:
    """So many users, created on one connection."""
    everybody = [expect.somebody() for _ in range(count)]
    with api.connect() as connection:
        connection.send(
            b"".join(
                api.message("POST", "/users", [JSON], expect.render(fields)) for fields in everybody
            )
        )
        return [expect.user(connection.read("POST"), 201, **fields) for fields in everybody]


def statuses(answers: Iterable[Answer]) -> dict[int, int]:
    """How many answers have which status."""
    return dict(Counter(answer.status for answer in answers))


@pytest.mark.clause("UNIQ-01")
def test_of_200_creations_with_one_email_one_succeeds(api: Client) -> None:
    email = expect.unique_email()
    spellings = [
        "".join(letter.upper() if n >> place & 1 else letter for place, letter in enumerate(email))
        for n in range(200)
    ]
    answers = api.at_once(
        [
            api.message("POST", "/users", [JSON], expect.render({"name": "Ada", "email": spelling}))
            for spelling in spellings
        ]
    )
    assert statuses(answers) == {201: 1, 409: 199}
    created = []
    for answer in answers:
        if answer.status == 201:
            created.append(expect.user(answer, 201, name="Ada", email=email))
        else:
            expect.problem(answer, "email-taken")
    expect.users(api.get(f"/users?q={email}"), created, next=False)


@pytest.mark.clause("UNIQ-02")
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_of_40_changes_to_one_email_one_succeeds(api: Client, method: str) -> None:
    email = expect.unique_email()
    before = creations(api, 40)
    answers = api.at_once(
        [
            api.message(
                method,
                f"/users/{user['id']}",
                [JSON],
                expect.render({"name": "Ada", "email": email}),
            )
            for user in before
        ]
    )
    assert statuses(answers) == {200: 1, 409: 39}
    for answer in answers:
        if answer.status == 200:
            expect.user(answer, 200, name="Ada", email=email, version=2)
        else:
            expect.problem(answer, "email-taken")


@pytest.mark.clause("UNIQ-03")
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_of_200_changes_under_one_etag_one_succeeds(api: Client, method: str) -> None:
    user = api.create()
    path, email = f"/users/{user['id']}", user["email"]
    names = [f"Name {n}" for n in range(200)]
    answers = api.at_once(
        [
            api.message(
                method,
                path,
                [JSON, ("If-Match", '"1"')],
                expect.render({"name": name, "email": email}),
            )
            for name in names
        ]
    )
    assert statuses(answers) == {200: 1, 412: 199}
    for name, answer in zip(names, answers, strict=True):
        if answer.status == 200:
            changed = expect.user(answer, 200, name=name, email=email, version=2)
            assert api.get(path).body == expect.render(changed)
        else:
            expect.problem(answer, "version-mismatch")


@pytest.mark.clause("UNIQ-03", "UNIQ-04")
def test_changes_that_a_deletion_came_before_are_404(api: Client) -> None:
    user = api.create()
    path, etag = f"/users/{user['id']}", ("If-Match", '"1"')
    change = [
        api.message("PATCH", path, [JSON, etag], expect.render({"name": f"Name {n}"}))
        for n in range(30)
    ]
    deletion = api.message("DELETE", path)
    answers = api.at_once([*change[:15], deletion, *change[15:]])
    expect.empty(answers.pop(15))
    for n, answer in enumerate(answers):
        match answer.status:
            case 200:
                expect.user(answer, 200, name=f"Name {n}", email=user["email"], version=2)
            case 412:
                expect.problem(answer, "version-mismatch")
            case _:
                expect.problem(answer, "user-not-found")
    assert statuses(answers).get(200, 0) < 2
    for answer in api.at_once(change[:5]):
        expect.problem(answer, "user-not-found")


@pytest.mark.clause("UNIQ-03", "UNIQ-04")
def test_of_40_conditional_deletions_one_succeeds(api: Client) -> None:
    path = f"/users/{api.create()['id']}"
    answers = api.at_once([api.message("DELETE", path, [("If-Match", '"1"')])] * 40)
    assert statuses(answers) == {204: 1, 404: 39}


@pytest.mark.clause("UNIQ-05")
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_writers_without_a_condition_all_succeed(api: Client, method: str) -> None:
    user = api.create()
    path, email = f"/users/{user['id']}", user["email"]
    names = [f"Name {n}" for n in range(100)]
    answers = api.at_once(
        [
            api.message(method, path, [JSON], expect.render({"name": name, "email": email}))
            for name in names
        ]
    )
    assert statuses(answers) == {200: 100}
    versions = [answer.json()["version"] for answer in answers]
    assert sorted(versions) == list(range(2, 102))
    for name, version, answer in zip(names, versions, answers, strict=True):
        changed = expect.user(
            answer,
            200,
            name=name,
            email=email,
            version=version,
            id=user["id"],
            created_at=user["created_at"],
        )
        if version == 101:
            assert api.get(path).body == expect.render(changed)


@pytest.mark.clause("UNIQ-06")
def test_of_50_deletions_one_succeeds(api: Client) -> None:
    path = f"/users/{api.create()['id']}"
    answers = api.at_once([api.message("DELETE", path)] * 50)
    assert statuses(answers) == {204: 1, 404: 49}
    for answer in answers:
        if answer.status == 204:
            expect.empty(answer)
        else:
            expect.problem(answer, "user-not-found")


@pytest.mark.clause("UNIQ-07")
def test_a_deletion_or_change_gives_the_email_free(api: Client) -> None:
    user = api.create()
    email = user["email"]
    expect.empty(api.delete(f"/users/{user['id']}"))
    second = api.create(email=email)
    assert second["id"] > user["id"]
    path, other = f"/users/{second['id']}", expect.unique_email()
    answer = api.patch(path, json={"email": other})
    expect.user(answer, 200, name=second["name"], email=other, version=2)
    third = api.create(email=email)
    answer = api.patch(path, json={"email": email})
    expect.problem(answer, "email-taken")
    fourth = api.create()
    expect.empty(api.delete(f"/users/{third['id']}"))
    answer = api.put(f"/users/{fourth['id']}", json={"name": "Eve", "email": email.upper()})
    expect.user(answer, 200, name="Eve", email=email, version=2)


@pytest.mark.clause("UNIQ-08")
def test_a_read_is_one_version_whole(api: Client) -> None:
    """Version n is called `Name n` and is reached at `n@…`: a mixture of two would show."""
    user = api.create()
    path, token = f"/users/{user['id']}", expect.unique()

    def fields(version: int) -> expect.Fields:
        if version == 1:
            return {"name": user["name"], "email": user["email"]}
        return {"name": f"Name {version}", "email": f"{token}.{version}@example.com"}

    writes = b"".join(
        api.message("PUT", path, [JSON], expect.render(fields(version))) for version in range(2, 62)
    )
    with api.connect() as writer, api.connect() as reader:
        reader.send(api.message("GET", path) * 60)
        writer.send(writes)
        for version in range(2, 62):
            expect.user(writer.read("PUT"), 200, **fields(version), version=version)
        seen = [reader.read() for _ in range(60)]
    versions = [answer.json()["version"] for answer in seen]
    assert versions == sorted(versions)
    for version, answer in zip(versions, seen, strict=True):
        expect.user(answer, 200, **fields(version), version=version)


@pytest.mark.clause("IDEM-13")
def test_concurrent_creations_with_one_key_are_one(api: Client) -> None:
    fields = expect.somebody()
    key = ("Idempotency-Key", expect.unique())
    answers = api.at_once([api.message("POST", "/users", [JSON, key], expect.render(fields))] * 100)
    assert statuses(answers) == {201: 100}
    first, *others = sorted(answers, key=lambda answer: answer.header("idempotency-replayed") or "")
    user = expect.user(first, 201, **fields)
    for answer in others:
        expect.replay(answer, first)
    expect.users(api.get(f"/users?q={fields['name']}"), [user], next=False)


@pytest.mark.clause("IDEM-05", "IDEM-13")
def test_concurrent_creations_with_one_key_and_other_bodies_are_one_too(api: Client) -> None:
    token, key = expect.unique(), ("Idempotency-Key", expect.unique())
    everybody: list[expect.Fields] = [
        {"name": f"{token} {n}", "email": expect.unique_email()} for n in range(50)
    ]
    answers = api.at_once(
        [api.message("POST", "/users", [JSON, key], expect.render(fields)) for fields in everybody]
    )
    assert statuses(answers) == {201: 1, 422: 49}
    created = []
    for fields, answer in zip(everybody, answers, strict=True):
        if answer.status == 201:
            created.append(expect.user(answer, 201, **fields))
        else:
            expect.problem(answer, "idempotency-key-reused")
    expect.users(api.get(f"/users?q={token}"), created, next=False)
