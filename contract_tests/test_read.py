"""GET and HEAD /users/{id}, and what an id in a path must look like."""

import pytest

from contract_tests.harness.client import Client
from contract_tests.harness.expect import MAX_ID, empty, error, head_of, problem, user
from contract_tests.harness.wire import Answer


def each_operation(api: Client, id_: str) -> list[Answer]:
    """The answers of GET, PUT, PATCH and DELETE, their bodies being right; HEAD is GET's."""
    path = f"/users/{id_}"
    get = api.get(path)
    head_of(api.head(path), get)
    return [
        get,
        api.put(path, json={"name": "Ada", "email": "ada@example.com"}),
        api.patch(path, json={}),
        api.delete(path),
    ]


@pytest.mark.clause("USR-READ-01", "COND-01")
def test_200_the_user(api: Client) -> None:
    ada = api.create()
    user(api.get(f"/users/{ada['id']}"), 200, **ada)


@pytest.mark.clause("USR-READ-01", "COND-01")
def test_200_the_user_as_it_is_now(api: Client) -> None:
    ada = api.create()
    path = f"/users/{ada['id']}"
    user(api.get(path), 200, **ada)
    answer = api.patch(path, json={"name": "Countess"})
    ada |= {"name": "Countess", "version": 2, "updated_at": answer.json()["updated_at"]}
    answer = api.get(path)
    user(answer, 200, **ada)
    assert answer.header("etag") == '"2"'


@pytest.mark.clause("USR-READ-02")
def test_404_a_user_that_never_was(api: Client) -> None:
    for id_ in (MAX_ID, MAX_ID - 1, 2**31, 2**32 + 1):
        problem(api.get(f"/users/{id_}"), "user-not-found")


@pytest.mark.clause("USR-READ-02")
def test_404_a_user_that_is_deleted(api: Client) -> None:
    path = f"/users/{api.create()['id']}"
    empty(api.delete(path), 204)
    answer = api.get(path)
    problem(answer, "user-not-found")
    head_of(api.head(path), answer)


@pytest.mark.clause("USR-READ-03")
def test_head_has_the_headers_of_the_get(api: Client) -> None:
    path = f"/users/{api.create(name='Zoë')['id']}"
    answer = api.get(path)
    assert answer.header("etag") == '"1"'
    assert answer.header("content-length") == str(len(answer.body))
    head_of(api.head(path), answer)


@pytest.mark.clause("USR-READ-04")
def test_reading_changes_nothing(api: Client) -> None:
    ada = api.create()
    path = f"/users/{ada['id']}"
    for _ in range(3):
        api.head(path)
        api.options(path)
        user(api.get(path), 200, **ada)


@pytest.mark.storeless
@pytest.mark.clause("ID-01")
@pytest.mark.parametrize(
    "id_",
    [
        "01",
        "00",
        "007",
        "0" * 5000,
        "+1",
        "-1",
        "-0",
        "1.0",
        "1.",
        ".1",
        "1,0",
        "1e3",
        "1E3",
        "0x1",
        "0b1",
        "1_0",
        "1n",
        "1L",
        "abc",
        "a",
        "1a",
        "a1",
        "1-2",
        "1;a=b",
        "1:2",
        "1@2",
        "1'",
        "(1)",
        "1=1",
        "$1",
        "*",
        "~1",
        "!",
        "null",
        "None",
        "true",
        "NaN",
        "Infinity",
        "undefined",
        "00000000-0000-4000-8000-000000000000",
        "9" * 200 + "a",
    ],
    ids=lambda id_: id_[:40],
)
def test_422_an_id_that_is_not_canonical(api: Client, id_: str) -> None:
    problem(api.get(f"/users/{id_}"), "validation", [error("malformed", parameter="id")])


@pytest.mark.clause("ID-01")
@pytest.mark.parametrize("form", ["0{}", "+{}", "{}.0", "{}e0", "{}_", "00000000000000{}"])
def test_422_an_existing_id_in_another_spelling(api: Client, form: str) -> None:
    ada = api.create()
    for answer in each_operation(api, form.format(ada["id"])):
        problem(answer, "validation", [error("malformed", parameter="id")])
    user(api.get(f"/users/{ada['id']}"), 200, **ada)


@pytest.mark.storeless
@pytest.mark.clause("ID-02")
def test_422_zero_is_too_small(api: Client) -> None:
    for answer in each_operation(api, "0"):
        problem(answer, "validation", [error("too-small", parameter="id")])


@pytest.mark.storeless
@pytest.mark.clause("ID-03")
@pytest.mark.parametrize(
    "id_",
    [
        pytest.param("9007199254740992", id="2^53"),
        pytest.param("9007199254740993", id="2^53+1"),
        pytest.param("9007199254740999", id="as-long-as-2^53"),
        pytest.param("9223372036854775807", id="2^63-1"),
        pytest.param("9223372036854775808", id="2^63"),
        pytest.param("18446744073709551617", id="2^64+1"),
        pytest.param("1" + "0" * 400, id="beyond-a-float"),
        pytest.param("9" * 5000, id="5000-digits"),
    ],
)
def test_422_an_id_above_the_largest_is_too_large(api: Client, id_: str) -> None:
    for answer in each_operation(api, id_):
        problem(answer, "validation", [error("too-large", parameter="id")])


@pytest.mark.clause("ID-03")
def test_422_an_existing_id_wrapped_around(api: Client) -> None:
    ada = api.create()
    for bits in (53, 63, 64):
        for answer in each_operation(api, str(2**bits + ada["id"])):
            problem(answer, "validation", [error("too-large", parameter="id")])
    user(api.get(f"/users/{ada['id']}"), 200, **ada)


@pytest.mark.clause("ID-04", "USR-READ-02", "USR-REPLACE-03", "USR-PATCH-05", "USR-DELETE-02")
@pytest.mark.parametrize("id_", [2**53 - 1, 2**53 - 2, 10**15, 2**31, 2**32], ids=str)
def test_404_the_largest_ids_are_ids(api: Client, id_: int) -> None:
    for answer in each_operation(api, str(id_)):
        problem(answer, "user-not-found")


@pytest.mark.clause("ID-04")
def test_404_an_id_that_a_32_bit_number_would_wrap_around(api: Client) -> None:
    ada = api.create()
    for answer in each_operation(api, str(2**32 + ada["id"])):
        problem(answer, "user-not-found")
    user(api.get(f"/users/{ada['id']}"), 200, **ada)
