"""If-Match and If-None-Match (RFC 9110, 13)."""

from collections.abc import Callable
from typing import Any

import pytest

from contract_tests.harness.client import Client, Headers
from contract_tests.harness.expect import (
    MAX_ID,
    empty,
    error,
    head_of,
    not_modified,
    problem,
    unique,
    unique_email,
    user,
    users,
)
from contract_tests.harness.wire import Answer

Change = Callable[[Client, dict[str, Any], Headers], Answer]


@pytest.fixture(autouse=True)
def in_one_field(request: pytest.FixtureRequest) -> None:
    """A condition in several fields does not get through a gateway."""
    callspec = getattr(request.node, "callspec", None)
    if callspec and len(callspec.params.get("values", ())) > 1:
        request.node.add_marker(pytest.mark.direct("COND-07"))


def put(api: Client, ada: dict[str, Any], headers: Headers) -> Answer:
    members = {"name": "Countess", "email": ada["email"]}
    return api.put(f"/users/{ada['id']}", json=members, headers=headers)


def patch(api: Client, ada: dict[str, Any], headers: Headers) -> Answer:
    return api.patch(f"/users/{ada['id']}", json={"name": "Countess"}, headers=headers)


def delete(api: Client, ada: dict[str, Any], headers: Headers) -> Answer:
    return api.delete(f"/users/{ada['id']}", headers=headers)


CHANGES = pytest.mark.parametrize("change", [put, patch, delete], ids=["PUT", "PATCH", "DELETE"])


def done(answer: Answer, ada: dict[str, Any]) -> None:
    """What `put`, `patch` and `delete` answer when they have done it."""
    if answer.status == 204:
        empty(answer, 204)
    else:
        after = {**ada, "name": "Countess", "version": ada["version"] + 1, "updated_at": None}
        user(answer, 200, **after)


def second_version(api: Client) -> dict[str, Any]:
    """A new user that was changed once."""
    ada = api.create()
    after = {**ada, "name": "Ada II", "version": 2, "updated_at": None}
    return user(api.patch(f"/users/{ada['id']}", json={"name": "Ada II"}), 200, **after)


def fields(name: str, *values: str) -> list[tuple[str, str]]:
    return [(name, value) for value in values]


@pytest.mark.clause("COND-01")
def test_etag_is_the_version_in_quotes(api: Client) -> None:
    ada = api.create()  # "1"
    path = f"/users/{ada['id']}"
    for version, method in ((2, "PUT"), (3, "PATCH")):
        members = {"name": f"Ada {version}", "email": ada["email"]}
        answer = api.request(method, path, json=members)
        assert answer.header("etag") == f'"{version}"'
        after = {**ada, **members, "version": version, "updated_at": None}
        after = user(answer, 200, **after)
        user(api.get(path), 200, **after)


@pytest.mark.clause("COND-02")
@CHANGES
def test_change_with_the_current_tag_is_done(api: Client, change: Change) -> None:
    ada = second_version(api)
    done(change(api, ada, {"if-match": '"2"'}), ada)


@pytest.mark.clause("COND-02")
@pytest.mark.parametrize("tag", ['"1"', '"3"', '"0"', '""', '"abc"', '"22"'])
def test_412_another_tag_changes_nothing(api: Client, tag: str) -> None:
    ada = second_version(api)
    for change in (put, patch, delete):
        problem(change(api, ada, {"if-match": tag}), "version-mismatch")
    user(api.get(f"/users/{ada['id']}"), 200, **ada)


@pytest.mark.clause("COND-02")
def test_tag_of_an_answer_serves_one_change(api: Client) -> None:
    ada = api.create()
    tag = api.get(f"/users/{ada['id']}").header("etag") or ""
    answer = patch(api, ada, {"if-match": tag})
    done(answer, ada)
    problem(patch(api, ada, {"if-match": tag}), "version-mismatch")
    problem(delete(api, ada, {"if-match": tag}), "version-mismatch")
    empty(delete(api, ada, {"if-match": answer.header("etag") or ""}), 204)


@pytest.mark.clause("COND-03")
@CHANGES
def test_star_is_any_version(api: Client, change: Change) -> None:
    ada = second_version(api)
    done(change(api, ada, {"if-match": "*"}), ada)


@pytest.mark.clause("COND-04", "COND-07", "COND-08")
@pytest.mark.parametrize(
    "values",
    [
        ('"1", "2"',),
        ('"2", "1"',),
        ('"2","3","4"',),
        ('"1"\t ,\t"2"',),
        (', "2"',),
        ('"2",',),
        (',,"1", ,, "2",,',),
        ('W/"2", "2"',),
        ('"2", W/"x"',),
        ('"a,b", "2"',),
        ('"a,W/", "2"',),
        ('"é\xff\x80", "2"',),
        ('"\\", "2"',),
        ('"!#$%&\'()*+-./:;<=>?@[]^_`{|}~", "2"',),
        ('""', '"2"'),
        ('"2"', '"1"'),
        ('"1"', '"2"', '"3"'),
        ('"2"', ""),
        ("", '"2"'),
        (",", '"2"'),
    ],
    ids=lambda values: " + ".join(ascii(value)[1:-1] for value in values),
)
def test_one_tag_of_a_list_is_enough(api: Client, values: tuple[str, ...]) -> None:
    ada = second_version(api)
    done(patch(api, ada, fields("if-match", *values)), ada)


@pytest.mark.clause("COND-04", "COND-07", "COND-08")
@pytest.mark.parametrize("values", [(',"1" ,\t"2",',), ('"1"', '"2"')], ids=["list", "fields"])
@CHANGES
def test_every_change_takes_a_list(api: Client, change: Change, values: tuple[str, ...]) -> None:
    ada = second_version(api)
    done(change(api, ada, fields("if-match", *values)), ada)


@pytest.mark.clause("COND-04", "COND-05", "COND-06", "COND-07")
@pytest.mark.parametrize(
    "values",
    [
        ('W/"2"',),
        ('W/"1", W/"2", W/"3"',),
        ('"1", W/"2"',),
        ('"1"', 'W/"2"'),
        ('"1", "3"',),
        ('"1"', '"3"'),
        ('"02"',),
        ('"2.0"',),
        ('"+2"',),
        ('"2,2"',),
        ('"1,2"',),
        ("\"'2'\"",),
        ('"\\2"',),
        ('"2\xa0"',),
        ('"*"',),
        ('"99999999999999999999999"',),
    ],
    ids=lambda values: " + ".join(ascii(value)[1:-1] for value in values),
)
def test_412_no_tag_of_the_list_matches(api: Client, values: tuple[str, ...]) -> None:
    ada = second_version(api)
    problem(patch(api, ada, fields("if-match", *values)), "version-mismatch")
    user(api.get(f"/users/{ada['id']}"), 200, **ada)


MALFORMED = pytest.mark.parametrize(
    "values",
    [
        ("",),
        (",",),
        (", ,\t,",),
        ("", ""),
        ("1",),
        ("'1'",),
        ('"1',),
        ('1"',),
        ('"',),
        ('"1""2"',),
        ('"1" "2"',),
        ('"1";"2"',),
        ('"1", 2',),
        ('"1", "2',),
        ('"1 "',),
        ('" 1"',),
        ('"1\t"',),
        ('"1"x',),
        ('w/"1"',),
        ('W"1"',),
        ('W/ "1"',),
        ('W /"1"',),
        ("W/1",),
        ("W/",),
        ('W/W/"1"',),
        ('"\\""',),
        ("**",),
        ("*,",),
        (",*",),
        ('*, "1"',),
        ('"1", *',),
        ("*", "*"),
        ("*", '"1"'),
        ('"1"', "*"),
        ("*", ""),
        ('"1"', "1"),
    ],
    ids=lambda values: " + ".join(ascii(value)[1:-1] for value in values),
)


@pytest.mark.storeless
@pytest.mark.clause("COND-09", "COND-07")
@MALFORMED
def test_400_malformed_if_match(api: Client, values: tuple[str, ...]) -> None:
    # A malformed header comes before the user that isn't there.
    headers = fields("if-match", *values)
    answer = api.patch(f"/users/{MAX_ID}", json={}, headers=headers)
    problem(answer, "malformed-header", [error("malformed", header="If-Match")])


@pytest.mark.clause("COND-09", "COND-07")
@pytest.mark.parametrize("values", [("",), ("1",), ("*", "*"), ('"1"', "1")], ids=" + ".join)
def test_400_malformed_if_match_changes_nothing(api: Client, values: tuple[str, ...]) -> None:
    ada = api.create()
    for change in (put, patch, delete):
        answer = change(api, ada, fields("if-match", *values))
        problem(answer, "malformed-header", [error("malformed", header="If-Match")])
    user(api.get(f"/users/{ada['id']}"), 200, **ada)


@pytest.mark.storeless
@pytest.mark.clause("COND-10", "COND-07")
@MALFORMED
def test_400_malformed_if_none_match(api: Client, values: tuple[str, ...]) -> None:
    answer = api.get(f"/users/{MAX_ID}", headers=fields("if-none-match", *values))
    problem(answer, "malformed-header", [error("malformed", header="If-None-Match")])


@pytest.mark.clause("COND-10", "COND-12")
@pytest.mark.parametrize("value", ["", "1", '*, "1"'])
def test_400_malformed_if_none_match_of_a_user(api: Client, value: str) -> None:
    path = f"/users/{api.create()['id']}"
    answer = api.get(path, headers={"if-none-match": value})
    problem(answer, "malformed-header", [error("malformed", header="If-None-Match")])
    head_of(api.head(path, headers={"if-none-match": value}), answer)


@pytest.mark.clause("COND-11", "COND-12", "COND-13", "COND-07", "COND-08")
@pytest.mark.parametrize(
    "values",
    [
        ('"2"',),
        ('W/"2"',),
        ("*",),
        ('"1", "2"',),
        ('W/"1" ,W/"2"',),
        (',"2",,',),
        ('"1"', '"2"'),
        ('"1"', 'W/"2"', '""'),
        ("", '"2"'),
        ('"a,b"\t,\t"2"',),
        ('"\xff", "2"',),
    ],
    ids=lambda values: " + ".join(ascii(value)[1:-1] for value in values),
)
def test_304_where_a_tag_matches(api: Client, values: tuple[str, ...]) -> None:
    path = f"/users/{second_version(api)['id']}"
    headers = fields("if-none-match", *values)
    not_modified(api.get(path, headers=headers), '"2"')
    not_modified(api.head(path, headers=headers), '"2"')


@pytest.mark.clause("COND-11", "COND-12", "COND-06")
@pytest.mark.parametrize(
    "values",
    [
        ('"1"',),
        ('W/"1", "3"',),
        ('"02"',),
        ('"2.0"',),
        ('"W/2"',),
        ('"1,2"',),
        ('"*"',),
        ('""',),
        ('"1"', '"3"'),
    ],
    ids=lambda values: " + ".join(ascii(value)[1:-1] for value in values),
)
def test_200_where_none_matches(api: Client, values: tuple[str, ...]) -> None:
    ada = second_version(api)
    path = f"/users/{ada['id']}"
    headers = fields("if-none-match", *values)
    answer = api.get(path, headers=headers)
    user(answer, 200, **ada)
    head_of(api.head(path, headers=headers), answer)


@pytest.mark.clause("COND-13", "HDR-01")
def test_304_is_followed_by_the_next_answer(api: Client) -> None:
    ada = api.create()
    path = f"/users/{ada['id']}"
    conditional = api.message("GET", path, [("If-None-Match", "*"), ("X-Request-Id", "a")])
    with api.connect() as connection:
        connection.send(conditional + api.message("GET", path))
        not_modified(connection.read(), '"1"', request_id="a")
        user(connection.read(), 200, **ada)


IGNORED = ['"1"', "*", "", "malformed", 'w/"2"']


@pytest.mark.clause("COND-14")
@pytest.mark.parametrize("value", IGNORED)
def test_if_match_is_ignored_elsewhere(api: Client, value: str) -> None:
    ada = second_version(api)
    path = f"/users/{ada['id']}"
    headers = {"if-match": value}
    answer = api.get(path, headers=headers)
    user(answer, 200, **ada)
    head_of(api.head(path, headers=headers), answer)
    empty(api.options(path, headers=headers), allow="DELETE, GET, HEAD, OPTIONS, PATCH, PUT")
    users(api.get(f"/users?q={ada['email']}", headers=headers), [ada], next=False)
    email = unique_email()
    answer = api.post("/users", json={"name": "Eve", "email": email}, headers=headers)
    user(answer, 201, name="Eve", email=email)


@pytest.mark.clause("COND-14")
@pytest.mark.parametrize("value", [*IGNORED, '"2"'])
def test_if_none_match_is_ignored_elsewhere(api: Client, value: str) -> None:
    token = unique()
    headers = {"if-none-match": value}
    members: dict[str, Any] = {"name": token, "email": unique_email()}
    ada = user(api.post("/users", json=members, headers=headers), 201, **members)
    answer = api.get(f"/users?q={token}", headers=headers)
    users(answer, [ada], next=False)
    head_of(api.head(f"/users?q={token}", headers=headers), answer)
    done(put(api, ada, headers), ada)
    answer = api.patch(f"/users/{ada['id']}", json={"name": token}, headers=headers)
    user(answer, 200, **{**ada, "version": 3, "updated_at": None})
    empty(delete(api, ada, headers), 204)


@pytest.mark.clause("COND-15")
@pytest.mark.parametrize("value", ["*", '"1"', '"9"', 'W/"1"'])
def test_404_comes_before_the_condition(api: Client, value: str) -> None:
    gone = api.create()
    empty(delete(api, gone, {}), 204)
    for change in (put, patch, delete):
        problem(change(api, gone, {"if-match": value}), "user-not-found")
    answer = api.get(f"/users/{gone['id']}", headers={"if-none-match": value})
    problem(answer, "user-not-found")


@pytest.mark.clause("COND-16")
def test_412_also_where_nothing_would_change(api: Client) -> None:
    ada = second_version(api)
    path = f"/users/{ada['id']}"
    members = {"name": ada["name"], "email": ada["email"]}
    for headers, matches in (({"if-match": '"1"'}, False), ({"if-match": '"2"'}, True)):
        for answer in (
            api.put(path, json=members, headers=headers),
            api.patch(path, json=members, headers=headers),
            api.patch(path, json={}, headers=headers),
        ):
            if matches:
                user(answer, 200, **ada)
            else:
                problem(answer, "version-mismatch")
    user(api.get(path), 200, **ada)


@pytest.mark.clause("COND-17")
@pytest.mark.parametrize("date", ["Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_dates_are_ignored(api: Client, date: str) -> None:
    ada = api.create()
    headers = {"if-modified-since": date, "if-unmodified-since": date, "if-range": date}
    user(api.get(f"/users/{ada['id']}", headers=headers), 200, **ada)
    done(patch(api, ada, headers), ada)
    empty(delete(api, ada, headers), 204)


@pytest.mark.clause("COND-18", "COND-04")
def test_thousands_of_tags_are_a_list(api: Client) -> None:
    ada = second_version(api)
    others = ",".join(f'"{number}"' for number in range(3, 2000))
    problem(patch(api, ada, {"if-match": others}), "version-mismatch")
    done(patch(api, ada, {"if-match": f'{others},"2"'}), ada)
    answer = api.get(f"/users/{ada['id']}", headers={"if-none-match": f'{others},"2"'})
    not_modified(answer, '"3"')


@pytest.mark.storeless
@pytest.mark.clause("COND-18")
@pytest.mark.parametrize("end", ["x", '"', "*", 'W/"'])
@pytest.mark.parametrize("filling", [" ,", " , ", " ", '"1" ', '"1",\t', '"', ',"a b"'], ids=repr)
def test_400_long_and_malformed_at_once(api: Client, filling: str, end: str) -> None:
    for count in (20, 16_000 // len(filling)):
        fields = [("If-None-Match", f'"1"{filling * count}{end}')]
        answer = api.raw(api.message("GET", f"/users/{MAX_ID}", fields))
        problem(answer, "malformed-header", [error("malformed", header="If-None-Match")])
