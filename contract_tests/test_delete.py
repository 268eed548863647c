"""DELETE /users/{id}."""

import pytest

from contract_tests.harness.client import Client
from contract_tests.harness.expect import MAX_ID, empty, problem, unique, user, users


@pytest.mark.clause("USR-DELETE-01")
def test_204_without_content(api: Client) -> None:
    ada = api.create()
    empty(api.delete(f"/users/{ada['id']}"), 204)


@pytest.mark.clause("USR-DELETE-01")
def test_204_is_followed_by_the_next_answer(api: Client) -> None:
    path = f"/users/{api.create()['id']}"
    with api.connect() as connection:
        connection.send(api.message("DELETE", path) + api.message("GET", path))
        empty(connection.read("DELETE"), 204)
        problem(connection.read("GET"), "user-not-found")


@pytest.mark.clause("USR-DELETE-02")
def test_404_the_second_time(api: Client) -> None:
    path = f"/users/{api.create()['id']}"
    empty(api.delete(path), 204)
    problem(api.delete(path), "user-not-found")
    problem(api.delete(path), "user-not-found")


@pytest.mark.clause("USR-DELETE-02")
def test_404_a_user_that_never_was(api: Client) -> None:
    problem(api.delete(f"/users/{MAX_ID}"), "user-not-found")


@pytest.mark.clause("USR-DELETE-03")
def test_deleted_user_is_gone_everywhere(api: Client) -> None:
    token = unique()
    ada, eve = api.create(name=f"Ada {token}"), api.create(name=f"Eve {token}")
    path = f"/users/{ada['id']}"
    user(api.get(path), 200, **ada)
    users(api.get(f"/users?q={token}"), [ada, eve], next=False)
    empty(api.delete(path), 204)
    problem(api.raw(api.message("GET", path)), "user-not-found")
    problem(api.put(path, json={"name": "Ada", "email": ada["email"]}), "user-not-found")
    problem(api.patch(path, json={"name": "Ada"}), "user-not-found")
    users(api.get(f"/users?q={token}"), [eve], next=False)
    user(api.get(f"/users/{eve['id']}"), 200, **eve)


@pytest.mark.clause("USR-DELETE-01", "IDEM-11")
def test_query_and_strange_headers_are_ignored(api: Client) -> None:
    path = f"/users/{api.create()['id']}"
    headers = {"idempotency-key": "not valid", "if-none-match": "*", "content-type": "?"}
    empty(api.delete(f"{path}?%", headers=headers), 204)
    problem(api.get(path), "user-not-found")
