"""GET and HEAD /users: order, search, pages, and how the query is read."""

import base64
import functools
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from contract_tests.harness.client import Client
from contract_tests.harness.expect import (
    MAX_ID,
    body,
    empty,
    error,
    head_of,
    problem,
    render,
    unique,
    unique_email,
    user,
    users,
)

MEMBERS = ["id", "name", "email", "created_at"]
SORTS = [*MEMBERS, *(f"-{member}" for member in MEMBERS)]
EMOJI = "\U0001f600"

User = dict[str, Any]


# In the order in which they are created, which is nobody else's order. Every name occurs twice.
NAMES = ["b", "a", "\U0001f600", "Z", "é", "a", "～", "_", "e\u0301", "b", "10", "9", "😀", "Z"]
LOCALS = ["m", "1", "_", "b.c", "b-c", "b", "a", "zz", "z", "b1", "b_c", "0", "~", "bc"]


class Crowd:
    """Users that `q` finds by their token and nobody else does; no test changes them."""

    def __init__(self, api: Client, names: list[str], local_parts: list[str]) -> None:
        self.token = unique()
        self.users = [
            api.create(name=f"{name} {self.token}", email=f"{local}.{self.token}@example.com")
            for name, local in zip(names, local_parts, strict=True)
        ]

    def sorted(self, sort: str) -> list[User]:
        """All of them as `sort` has them, ties by ascending id. Python compares code points."""
        by_id = sorted(self.users, key=lambda one: one["id"])
        member = sort.removeprefix("-")
        return sorted(by_id, key=lambda one: one[member], reverse=sort.startswith("-"))


@functools.cache
def crowd(api: Client) -> Crowd:
    """A crowd with all that is hard to sort, made once for each target."""
    return Crowd(api, NAMES, LOCALS)


def listed(api: Client, query: str) -> list[User]:
    """The users of a list without a further page."""
    answer = api.get(f"/users?{query}")
    found: list[User] = answer.json()
    users(answer, found, next=False)
    return found


def refused(api: Client, query: str, *errors: dict[str, str]) -> None:
    problem(api.get(f"/users?{query}"), "validation", errors)


def cursor_of(target: str | None) -> str:
    """The cursor in the target of a link."""
    assert target is not None
    return target.rpartition("&cursor=")[2]


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def cursor(sort: str, q: str | None, key: str | int, id_: int) -> str:
    return encoded(render([sort, q, key, id_]))


def pages(api: Client, query: str, limit: int) -> Iterator[list[User]]:
    """The pages of a list from the first on, each asked for when it is taken."""
    target: str | None = f"/users?limit={limit}&{query}"
    while target:
        answer = api.get(target)
        page: list[User] = answer.json()
        target = users(answer, page, next=answer.header("link") is not None)
        assert len(page) == limit or not target
        yield page


MALFORMED = {name: error("malformed", parameter=name) for name in ("limit", "sort", "q", "cursor")}


# USR-LIST


@pytest.mark.clause("USR-LIST-01", "USR-LIST-19")
def test_200_a_bare_array(api: Client) -> None:
    token = unique()
    ada, eve = api.create(name=f"Ada {token}"), api.create(name=f"Eve {token}")
    answer = api.get(f"/users?q={token}")
    users(answer, [ada, eve], next=False)
    assert answer.body == b"[" + render(ada) + b"," + render(eve) + b"]"
    assert answer.json()[0]["name"] == ada["name"]
    assert answer.header("etag") is None


@pytest.mark.clause("USR-LIST-02")
def test_200_an_empty_array(api: Client) -> None:
    answer = api.get(f"/users?q={unique()}")
    users(answer, [], next=False)
    assert answer.body == b"[]"


@pytest.mark.clause("USR-LIST-01", "USR-LIST-03")
def test_200_without_a_query(api: Client) -> None:
    api.create()
    for target in ("/users", "/users?"):
        answer = api.get(target)
        found = answer.json()
        assert 1 <= len(found) <= 50
        # Others create and delete users meanwhile: the order holds all the same.
        assert [one["id"] for one in found] == sorted({one["id"] for one in found})
        users(answer, found, next=answer.header("link") is not None)


@functools.cache
def hundred_and_one(api: Client) -> Crowd:
    return Crowd(api, ["Ada"] * 101, [f"a{number:03}" for number in range(101)])


@pytest.mark.clause("USR-LIST-03", "USR-LIST-18")
@pytest.mark.parametrize(
    ("limit", "count"), [("", 50), ("&limit=1", 1), ("&limit=99", 99), ("&limit=100", 100)]
)
def test_200_at_most_as_many_as_the_limit(api: Client, limit: str, count: int) -> None:
    many = hundred_and_one(api)
    target = users(api.get(f"/users?q={many.token}{limit}"), many.users[:count], next=True)
    # The link names the limit, the default one too.
    assert target is not None
    assert target.startswith(f"/users?limit={count}&sort=id&q={many.token}&cursor=")
    rest = many.users[count : 2 * count]
    users(api.get(target), rest, next=2 * count < 101)


@pytest.mark.storeless
@pytest.mark.clause("USR-LIST-04")
@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ("0", "too-small"),
        ("101", "too-large"),
        ("1000", "too-large"),
        ("4294967297", "too-large"),
        ("9007199254740993", "too-large"),
        ("18446744073709551617", "too-large"),
        ("9" * 5000, "too-large"),
        ("-1", "malformed"),
        ("%2B5", "malformed"),
        ("+5", "malformed"),
        ("5+", "malformed"),
        ("5%0A", "malformed"),
        ("%0D%0A5", "malformed"),
        ("05", "malformed"),
        ("00", "malformed"),
        ("0101", "malformed"),
        ("5.0", "malformed"),
        ("5.", "malformed"),
        ("1e1", "malformed"),
        ("0x5", "malformed"),
        ("1_0", "malformed"),
        ("5,6", "malformed"),
        ("5;6", "malformed"),
        ("5=6", "malformed"),
        ("ten", "malformed"),
        ("null", "malformed"),
        ("true", "malformed"),
        ("NaN", "malformed"),
        ("Infinity", "malformed"),
        ("[5]", "malformed"),
        ('"5"', "malformed"),
        ("%D9%A5", "malformed"),
        ("%EF%BC%95", "malformed"),
        ("%C2%B2", "malformed"),
        ("5%00", "malformed"),
    ],
    ids=lambda text: text[:30],
)
def test_422_limit(api: Client, limit: str, code: str) -> None:
    refused(api, f"limit={limit}", error(code, parameter="limit"))


@pytest.mark.clause("USR-LIST-05", "USR-LIST-06", "USR-LIST-07", "USR-LIST-08")
@pytest.mark.parametrize("sort", SORTS)
def test_200_sorted(api: Client, sort: str) -> None:
    many = crowd(api)
    answer = api.get(f"/users?q={many.token}&sort={sort}")
    users(answer, many.sorted(sort), next=False)


@pytest.mark.clause("USR-LIST-05")
def test_200_sorted_by_id_by_default(api: Client) -> None:
    many = crowd(api)
    users(api.get(f"/users?q={many.token}"), many.sorted("id"), next=False)


@pytest.mark.clause("USR-LIST-08")
def test_200_text_is_sorted_by_code_point(api: Client) -> None:
    many = crowd(api)
    found = listed(api, f"q={many.token}&sort=name")
    names = [one["name"].removesuffix(f" {many.token}") for one in found]
    order = ["10", "9", "Z", "Z", "_", "a", "a", "b", "b", "e\u0301", "é", "～", "😀", "😀"]
    assert names == order


@pytest.mark.clause("USR-LIST-07")
@pytest.mark.parametrize("sort", ["name", "-name"])
def test_200_equal_names_by_ascending_id(api: Client, sort: str) -> None:
    token = unique()
    same = [api.create(name=token) for _ in range(3)]
    users(api.get(f"/users?q={token}&sort={sort}"), same, next=False)
    assert [page[0] for page in pages(api, f"q={token}&sort={sort}", 1)] == same


@pytest.mark.storeless
@pytest.mark.clause("USR-LIST-09")
@pytest.mark.parametrize(
    "sort",
    [
        "Name",
        "NAME",
        "+name",
        "%2Bname",
        "--name",
        "-",
        "name-",
        "name,id",
        "name;id",
        "name+",
        "x",
        "version",
        "role",
        "password_hash",
        "updated_at",
        "name_lower",
        "rowid",
        "1",
        "id+desc",
        "-+name",
        "name%0A",
        "%00",
        "createdAt",
        "__proto__",
        "constructor",
        "-toString",
        "%E2%88%92name",
        "name'--",
        "null",
    ],
)
def test_422_sort(api: Client, sort: str) -> None:
    refused(api, f"sort={sort}", MALFORMED["sort"])


@pytest.mark.clause("USR-LIST-10")
def test_200_q_finds_in_name_and_email_anywhere(api: Client) -> None:
    token = unique()
    in_name = api.create(name=f"x{token}x")
    whole = api.create(name=token)
    in_email = api.create(email=f"x.{token}.x@example.com")
    in_domain = api.create(email=f"ada@x-{token}-x.example")
    neither = api.create(name=token[:-1], email=f"{token[1:]}@example.com")
    both = api.create(name=f"{token} {token}", email=f"{token}@example.com")
    users(api.get(f"/users?q={token}"), [in_name, whole, in_email, in_domain, both], next=False)
    user(api.get(f"/users/{neither['id']}"), 200, **neither)


@pytest.mark.clause("USR-LIST-10")
def test_200_q_does_not_reach_from_one_member_to_the_other(api: Client) -> None:
    token = unique()
    ada = api.create(name=f"x {token}", email=f"{token}@example.com")
    name, email = quote(ada["name"]), quote(ada["email"])
    for between in ("", "+", "%7C", ",", "/"):
        users(api.get(f"/users?q={name}{between}{email}"), [], next=False)
        users(api.get(f"/users?q={email}{between}{name}"), [], next=False)


@pytest.mark.clause("USR-LIST-10")
def test_200_q_does_not_look_into_other_members(api: Client) -> None:
    ada = api.create()
    users(api.get(f"/users?q={ada['created_at']}"), [], next=False)


@pytest.mark.clause("USR-LIST-10", "USR-LIST-19")
def test_200_q_finds_what_is_there_now(api: Client) -> None:
    before, after = unique(), unique()
    ada = api.create(name=f"Ada {before}")
    path = f"/users/{ada['id']}"
    changed = {"name": f"ADA {after.upper()}", "email": f"{after}x@example.com"}
    answer = api.put(path, json=changed)
    ada = user(answer, 200, **{**ada, **changed, "version": 2, "updated_at": None})
    users(api.get(f"/users?q={before}"), [], next=False)
    users(api.get(f"/users?q=ada+{after}"), [ada], next=False)
    users(api.get(f"/users?q={after}X@"), [ada], next=False)
    answer = api.patch(path, json={"name": "x"})
    ada = user(answer, 200, **{**ada, "name": "x", "version": 3, "updated_at": None})
    users(api.get(f"/users?q=ada+{after}"), [], next=False)
    empty(api.delete(path), 204)
    users(api.get(f"/users?q={after}"), [], next=False)


@pytest.mark.clause("USR-LIST-11")
@pytest.mark.parametrize(
    ("name", "q"),
    [
        ("ada", "ADA"),
        ("ADA", "ada"),
        ("Ada", "aDA"),
        ("École", "éCOLE"),
        ("école", "ÉCOLE"),
        ("ΚΌΣΜΕ", "κόσμε"),
        ("Жанна", "жАННА"),
        ("Կ", "կ"),
        ("K", "k"),
        ("k", "\u212a"),
        ("\u212a", "k"),
        ("\u212b", "å"),
        ("İ", "i\u0307"),
        ("i\u0307", "İ"),
        ("İx", "i"),
        ("ΟΔΟΣ", "οδος"),
        ("ΟΔΟΣ", "ΟΔΟΣ"),
        ("ΟΔΟΣ ΟΔΟΣ", "οδος οδος"),
        ("ΣΑ", "σα"),
        ("ẞ", "ß"),
        ("Ǆ ǅ", "ǆ ǆ"),
        ("Ⅷ", "ⅷ"),
        ("Ⓐ", "ⓐ"),
        ("Ａ", "ａ"),
        ("𐐀", "𐐨"),
        ("𞤀", "𞤢"),
        ("Ა", "ა"),
        ("Ꭰ", "ꭰ"),
        ("Ω", "ω"),
    ],
    ids=ascii,
)
def test_200_q_finds_in_any_letter_case(api: Client, name: str, q: str) -> None:
    token = unique()
    ada = api.create(name=f"{token} {name}")
    users(api.get(f"/users?q={token}+{quote(q)}"), [ada], next=False)


@pytest.mark.clause("USR-LIST-11", "USR-LIST-13")
@pytest.mark.parametrize(
    ("name", "q"),
    [
        ("caf\u00e9", "cafe\u0301"),
        ("cafe\u0301", "caf\u00e9"),
        ("café", "cafe"),
        ("Å", "A\u030a"),
        ("ſ", "s"),
        ("s", "ſ"),
        ("straße", "strasse"),
        ("strasse", "straße"),
        ("I", "ı"),
        ("ı", "i"),
        ("ΟΔΟΣ", "οδοσ"),
        ("οδοσ", "ΟΔΟΣ"),
        ("\ufb01", "fi"),
        ("Ａ", "a"),
        ("①", "1"),
        ("a  b", "a b"),
        ("a\u00a0b", "a b"),
        ("ab", "a\u200bb"),
    ],
    ids=ascii,
)
def test_200_q_finds_nothing_that_only_looks_alike(api: Client, name: str, q: str) -> None:
    token = unique()
    api.create(name=f"{token} {name}")
    users(api.get(f"/users?q={token}+{quote(q)}"), [], next=False)


@pytest.mark.clause("USR-LIST-11")
def test_200_q_finds_an_email_in_any_letter_case(api: Client) -> None:
    ada = api.create(email=f"Kim.{unique()}@EXAMPLE.com")
    for q in (ada["email"], ada["email"].upper(), "\u212a" + ada["email"][1:]):
        users(api.get(f"/users?q={quote(q)}"), [ada], next=False)


@pytest.mark.clause("USR-LIST-12")
def test_200_special_characters_stand_for_themselves(api: Client) -> None:
    token = unique()
    for decoy in ("", "x", "xy"):
        api.create(name=f"{token}{decoy}z")
    for special in [*"%_\\*?[]^$.'\"#&+/;", "%%", "\\%", "\\\\", "[a-z]", "--", ".*"]:
        ada = api.create(name=f"{token}{special}z")
        users(api.get(f"/users?q={token}{quote(special, safe='')}z"), [ada], next=False)


@pytest.mark.clause("USR-LIST-14", "USR-LIST-16")
@pytest.mark.parametrize("space", ["+", "%20", "%09", "%0D%0A", "+%09%0A+"])
def test_200_q_is_trimmed(api: Client, space: str) -> None:
    token = unique()
    first, second = api.create(name=token), api.create(name=token)
    for query in (f"{space}{token}", f"{token}{space}", f"{space}{token}{space}"):
        users(api.get(f"/users?q={query}"), [first, second], next=False)
    target = users(api.get(f"/users?q={space}{token}{space}&limit=1"), [first], next=True)
    assert target is not None
    assert target.startswith(f"/users?limit=1&sort=id&q={token}&cursor=")


@pytest.mark.clause("USR-LIST-14")
@pytest.mark.parametrize("space", ["\u00a0", "\u3000", "\ufeff", "\u2028", "\u200b"], ids=ascii)
def test_200_nothing_else_is_trimmed(api: Client, space: str) -> None:
    token = unique()
    api.create(name=token)
    ada = api.create(name=f"{space}{token}")
    users(api.get(f"/users?q={quote(space)}{token}"), [ada], next=False)


@pytest.mark.clause("USR-LIST-15")
@pytest.mark.parametrize("filling", ["x", "é", EMOJI, "İ"], ids=ascii)
def test_200_q_of_one_hundred_code_points(api: Client, filling: str) -> None:
    q = unique().ljust(100, filling)
    ada = api.create(name=q)
    for spelled in (quote(q), f"+{quote(q)}%0A"):
        users(api.get(f"/users?q={spelled}"), [ada], next=False)


@pytest.mark.storeless
@pytest.mark.clause("USR-LIST-15")
@pytest.mark.parametrize(
    ("q", "code"),
    [
        ("+", "too-short"),
        ("%20%09%0D%0A", "too-short"),
        ("x" * 101, "too-long"),
        (quote(EMOJI * 101), "too-long"),
        (f"x{'+' * 99}x", "too-long"),
        (f"x{'+' * 15_000}x", "too-long"),
        ("%00" * 101, "too-long"),
        ("%00", "malformed"),
        ("a%00b", "malformed"),
        ("a%0Ab", "malformed"),
        ("a%09b", "malformed"),
        ("a%1Fb", "malformed"),
        ("%0Ba", "malformed"),
        ("a%0C", "malformed"),
        ("%1Ca", "malformed"),
        ("a%7F", "malformed"),
        ("%C2%80", "malformed"),
        ("%C2%85", "malformed"),
        ("%C2%9F", "malformed"),
    ],
    ids=lambda text: text[:20],
)
def test_422_q(api: Client, q: str, code: str) -> None:
    refused(api, f"q={q}", error(code, parameter="q"))


@pytest.mark.clause("USR-LIST-16", "CURSOR-01")
@pytest.mark.parametrize("sort", SORTS)
def test_link_to_the_next_page(api: Client, sort: str) -> None:
    many = crowd(api)
    expected = many.sorted(sort)
    last = expected[4]
    # The order of the parameters sent, and what is unknown, has no part in the link.
    target = users(
        api.get(f"/users?x=1&sort={sort}&q={many.token}&limit=5&y"), expected[:5], next=True
    )
    place = cursor(sort, many.token, last[sort.removeprefix("-")], last["id"])
    assert target == f"/users?limit=5&sort={sort}&q={many.token}&cursor={place}"


@pytest.mark.clause("USR-LIST-16", "CURSOR-01")
def test_link_without_q(api: Client) -> None:
    api.create(), api.create()
    answer = api.get("/users?limit=1&sort=-id")
    found = answer.json()
    target = users(answer, found, next=True)
    last = found[0]["id"]
    assert target == f"/users?limit=1&sort=-id&cursor={cursor('-id', None, last, last)}"


@pytest.mark.clause("USR-LIST-16", "USR-LIST-17", "CURSOR-01", "CURSOR-02")
@pytest.mark.parametrize(
    "special",
    [
        "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
        "a b",
        "é\u2028\ufeffx",
        EMOJI,
        "Ada 0-9._~",
        "%41",
        "Éa",
    ],
    ids=ascii,
)
def test_link_is_percent_encoded(api: Client, special: str) -> None:
    q = f"{unique()}{special}"
    first, second = api.create(name=q), api.create(name=q)
    spelled = quote(q, safe="")
    target = users(api.get(f"/users?limit=1&sort=name&q={spelled}"), [first], next=True)
    place = cursor("name", q, q, first["id"])
    assert target == f"/users?limit=1&sort=name&q={spelled}&cursor={place}"
    users(api.get(target), [second], next=False)


@pytest.mark.clause("USR-LIST-18")
def test_link_only_where_another_page_holds_something(api: Client) -> None:
    many = crowd(api)
    count = len(many.users)
    for limit, more in ((count - 1, True), (count, False), (count + 1, False), (100, False)):
        answer = api.get(f"/users?q={many.token}&limit={limit}")
        target = users(answer, many.users[:limit], next=more)
        if target:
            users(api.get(target), many.users[limit:], next=False)


@pytest.mark.storeless
@pytest.mark.clause("USR-LIST-20", "PROB-07", "PROB-06")
def test_422_all_that_is_wrong_in_order(api: Client) -> None:
    refused(
        api,
        "cursor=!&q=&sort=x&limit=0",
        error("too-small", parameter="limit"),
        MALFORMED["sort"],
        error("too-short", parameter="q"),
        MALFORMED["cursor"],
    )
    refused(api, "cursor=!&limit=1000", error("too-large", parameter="limit"), MALFORMED["cursor"])


@pytest.mark.clause("USR-LIST-21")
@pytest.mark.parametrize("query", ["limit=2&sort=-name", "limit=100", "limit=0", "q=%", "cursor=!"])
def test_head_has_the_headers_of_the_get(api: Client, query: str) -> None:
    target = f"/users?{query}&q={crowd(api).token}" if "q=" not in query else f"/users?{query}"
    answer = api.get(target)
    assert answer.header("content-length") == str(len(answer.body))
    assert (answer.header("link") is not None) == (query == "limit=2&sort=-name")
    head_of(api.head(target), answer)


# CURSOR


@pytest.mark.clause("CURSOR-02", "CURSOR-07")
@pytest.mark.parametrize("sort", SORTS)
def test_a_cursor_of_the_form_is_taken(api: Client, sort: str) -> None:
    many = crowd(api)
    expected = many.sorted(sort)
    for at in (0, 6, len(expected) - 2):
        one = expected[at]
        place = cursor(sort, many.token, one[sort.removeprefix("-")], one["id"])
        query = f"cursor={place}&sort={sort}&q={many.token}"
        users(api.get(f"/users?{query}"), expected[at + 1 :], next=False)


@pytest.mark.clause("CURSOR-02", "CURSOR-01")
def test_a_page_begun_on_one_service_is_continued_on_the_other(
    pair: tuple[Client, Client],
) -> None:
    one, other = pair
    many = Crowd(one, NAMES, LOCALS)
    for sort in SORTS:
        first = f"/users?limit=3&sort={sort}&q={many.token}"
        expected = many.sorted(sort)
        for at in range(0, len(expected), 3):
            more = at + 3 < len(expected)
            target = users(one.get(first), expected[at : at + 3], next=more)
            assert target == users(other.get(first), expected[at : at + 3], next=more)
            one, other = other, one
            first = target or ""


@pytest.mark.clause("CURSOR-03")
@pytest.mark.parametrize(
    ("sort", "limit"), [*((sort, 4) for sort in SORTS), ("name", 1), ("-created_at", 1)]
)
def test_all_pages_show_everyone_once(api: Client, sort: str, limit: int) -> None:
    many = crowd(api)
    seen = [one for page in pages(api, f"q={many.token}&sort={sort}", limit) for one in page]
    assert seen == many.sorted(sort)


@pytest.mark.clause("CURSOR-04")
@pytest.mark.parametrize("sort", ["id", "-id", "name", "-name", "email", "-email"])
def test_creations_and_deletions_between_pages(api: Client, sort: str) -> None:
    many = Crowd(api, NAMES[:8], LOCALS[:8])
    expected = many.sorted(sort)
    walk = pages(api, f"q={many.token}&sort={sort}", 3)
    assert next(walk) == expected[:3]
    # One that was seen, the one that the cursor names, and one that is still to come.
    for gone in (expected[0], expected[2], expected[4]):
        empty(api.delete(f"/users/{gone['id']}"), 204)
    # Before and after the place that was reached, in every order.
    for name, local in (("0", "00"), ("\U0010ffff", "~~~")):
        api.create(name=f"{name} {many.token}", email=f"{local}.{many.token}@example.com")
    seen = [one for page in walk for one in page]
    assert [one for one in seen if one in expected] == [expected[3], *expected[5:]]
    new = [one for one in seen if one not in expected]
    assert len(new) == (0 if sort == "-id" else 2 if sort == "id" else 1)


@pytest.mark.clause("CURSOR-04")
def test_everyone_deleted_between_pages(api: Client) -> None:
    many = Crowd(api, ["a"] * 4, ["a", "b", "c", "d"])
    answer = api.get(f"/users?q={many.token}&limit=2")
    target = users(answer, many.users[:2], next=True)
    for one in many.users:
        empty(api.delete(f"/users/{one['id']}"), 204)
    users(api.get(target or ""), [], next=False)


@pytest.mark.clause("CURSOR-05")
@pytest.mark.parametrize("sort", SORTS)
def test_422_a_cursor_of_another_sort(api: Client, sort: str) -> None:
    many = crowd(api)
    answer = api.get(f"/users?q={many.token}&limit=5&sort={sort}")
    target = users(answer, many.sorted(sort)[:5], next=True)
    for other in SORTS:
        query = f"q={many.token}&sort={other}&cursor={cursor_of(target)}"
        if other != sort:
            problem(api.get(f"/users?{query}"), "validation", [MALFORMED["cursor"]])
    if sort != "id":
        refused(api, f"q={many.token}&cursor={cursor_of(target)}", MALFORMED["cursor"])


@pytest.mark.clause("CURSOR-06")
def test_422_a_cursor_of_another_q(api: Client) -> None:
    many = crowd(api)
    q = f"a {many.token}"
    first, second = (one for one in many.users if one["name"] == q)
    target = users(api.get(f"/users?q={quote(q)}&limit=1"), [first], next=True)
    place = cursor_of(target)
    for other in (many.token, q.upper(), q.capitalize(), f"{q}x", "x"):
        refused(api, f"q={quote(other)}&cursor={place}", MALFORMED["cursor"])
    refused(api, f"cursor={place}", MALFORMED["cursor"])
    users(api.get(f"/users?q=+{quote(q)}%0A&cursor={place}"), [second], next=False)


@pytest.mark.storeless
@pytest.mark.clause("CURSOR-06")
def test_422_a_cursor_without_q(api: Client) -> None:
    place = cursor("id", None, 1, 1)
    refused(api, f"q=x&cursor={place}", MALFORMED["cursor"])
    refused(api, f"q=null&cursor={place}", MALFORMED["cursor"])
    refused(api, f"cursor={cursor('id', 'null', 1, 1)}", MALFORMED["cursor"])
    refused(api, f"cursor={cursor('id', '', 1, 1)}", MALFORMED["cursor"])


@pytest.mark.clause("CURSOR-07")
def test_a_cursor_is_not_bound_to_the_limit(api: Client) -> None:
    many = crowd(api)
    expected = many.sorted("-name")
    query = f"q={many.token}&sort=-name"
    target = users(api.get(f"/users?{query}&limit=2"), expected[:2], next=True)
    place = cursor_of(target)
    users(api.get(f"/users?{query}&limit=3&cursor={place}"), expected[2:5], next=True)
    users(api.get(f"/users?{query}&cursor={place}"), expected[2:], next=False)


# A cursor that is right, so that nothing but its spelling is wrong; its length leaves unused bits.
RIGHT = cursor("id", None, 1, 10)


@pytest.mark.clause("CURSOR-02", "CURSOR-08")
def test_the_right_cursor_is_taken(api: Client) -> None:
    assert len(RIGHT) % 4 != 0
    answer = api.get(f"/users?limit=1&cursor={RIGHT}")
    users(answer, answer.json(), next=answer.header("link") is not None)


@pytest.mark.storeless
@pytest.mark.clause("CURSOR-08")
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("!", id="mark"),
        pytest.param("abc", id="letters"),
        pytest.param("a", id="one-letter"),
        pytest.param(RIGHT + "=", id="padded"),
        pytest.param(RIGHT + "%3D", id="padded-encoded"),
        pytest.param(RIGHT + "==", id="padded-twice"),
        pytest.param(RIGHT + "%0A", id="newline"),
        pytest.param("%0A" + RIGHT, id="newline-before"),
        pytest.param(RIGHT + "+", id="space"),
        pytest.param("+" + RIGHT, id="space-before"),
        pytest.param(RIGHT[:4] + "+" + RIGHT[4:], id="space-inside"),
        pytest.param(RIGHT[:4] + "%0D%0A" + RIGHT[4:], id="newline-inside"),
        pytest.param(RIGHT + "%00", id="NUL"),
        pytest.param(RIGHT + ".", id="dot"),
        pytest.param(RIGHT[:4] + "." + RIGHT[4:], id="dot-inside"),
        pytest.param(RIGHT + "~", id="tilde"),
        pytest.param(RIGHT + "%C3%A9", id="letter-beyond-ASCII"),
        pytest.param(RIGHT + "A", id="impossible-or-longer"),
        pytest.param(RIGHT + "AA", id="NUL-at-the-end"),
        pytest.param(RIGHT[:-1], id="cut"),
        pytest.param(RIGHT[:-1] + chr(ord(RIGHT[-1]) + 1), id="unused-bits"),
        pytest.param(RIGHT.lower(), id="lower-case"),
        pytest.param(RIGHT[::-1], id="reversed"),
        pytest.param("%5B%22id%22%2Cnull%2C1%2C10%5D", id="not-encoded"),
        pytest.param("A" * 4001, id="4001-letters"),
    ],
)
def test_422_a_cursor_that_is_not_canonical_base64url(api: Client, text: str) -> None:
    refused(api, f"cursor={text}", MALFORMED["cursor"])


@pytest.mark.clause("CURSOR-08")
def test_422_a_cursor_of_the_other_alphabet(api: Client) -> None:
    # `>` and `?` at the right places give `-` and `_`, which are `+` and `/` in plain base64.
    q = "??>>??>>~~~"
    place = cursor("id", q, 1, 1)
    assert "-" in place
    assert "_" in place
    query = f"limit=1&q={quote(q)}"
    users(api.get(f"/users?{query}&cursor={place}"), [], next=False)
    for plain in (place.replace("-", "%2B"), place.replace("_", "/"), place.replace("-", "+")):
        refused(api, f"{query}&cursor={plain}", MALFORMED["cursor"])


@pytest.mark.storeless
@pytest.mark.clause("CURSOR-09")
@pytest.mark.parametrize(
    "content",
    [
        b' ["id",null,1,1]',
        b'["id",null,1,1] ',
        b'["id",null,1,1]\n',
        b'["id", null, 1, 1]',
        b'["id",null,1,1]x',
        b'["id",null,1,1][]',
        b'["\\u0069d",null,1,1]',
        b"['id',null,1,1]",
        b'["id",null,1.0,1]',
        b'["id",null,1,1.0]',
        b'["id",null,1e0,1]',
        b'["id",null,1,1e0]',
        b'["id",null,01,1]',
        b'["id",null,1,+1]',
        b'["id",null,true,1]',
        b'["id",null,1,true]',
        b'["id",null,"1",1]',
        b'["id",null,1,"1"]',
        b'["id",null,null,1]',
        b'["id",null,1,null]',
        b'["id",null,[1],1]',
        b'["id",null,{},1]',
        b'["id",null,NaN,1]',
        b'["id",null,1,Infinity]',
        b'["id",null,1.5,1]',
        b'["id",1,1,1]',
        b'["id",false,1,1]',
        b'["id",undefined,1,1]',
        b"[null,null,1,1]",
        b'[["id"],null,1,1]',
        b'["ID",null,1,1]',
        b'["x",null,"1",1]',
        b'["name",null,"a",1]',
        b'["id",null,1]',
        b'["id",null,1,1,1]',
        b'["id",null,1,1,]',
        b"[]",
        b"{}",
        b'{"0":"id","1":null,"2":1,"3":1,"length":4}',
        b'"id"',
        b"null",
        b"1",
        b"x",
        b"\xff\xfe",
        b'["id",null,1,1]'[:-1],
        b'["id","\xff",1,1]',
        b'["id","\xed\xa0\x80",1,1]',
        b'\xef\xbb\xbf["id",null,1,1]',
        '["id",null,1,1]'.encode("utf-16"),
        b"[" * 3000,
        b"[" * 1500 + b"]" * 1500,
        b'["id",null,1,%s]' % (b"9" * 5000),
    ],
    ids=lambda content: ascii(content)[2:-1][:40],
)
def test_422_a_cursor_that_does_not_hold_the_array(api: Client, content: bytes) -> None:
    refused(api, f"cursor={encoded(content)}", MALFORMED["cursor"])


@pytest.mark.storeless
@pytest.mark.clause("CURSOR-09", "CURSOR-10")
@pytest.mark.parametrize(
    "content",
    [
        rb'["name",null,"\u0061",1]',
        rb'["name",null,"\u00e9",1]',
        rb'["name",null,"\/",1]',
        rb'["name",null,"\u2028",1]',
        rb'["name",null,"\ud83d\ude00",1]',
        b'["name",null,1,1]',
        b'["name",null,true,1]',
        b'["name",null,null,1]',
        b'["name",null,["a"],1]',
        rb'["name",null,"\ud800",1]',
        rb'["name",null,"a\udc00",1]',
        rb'["name",null,"\n",1]',
        rb'["name",null,"\u0000",1]',
        rb'["name",null,"\u001f",1]',
        b'["name",null,"\x7f",1]',
        '["name",null,"\x85",1]'.encode(),
        b'["name",null,"%s",1]' % (b"x" * 255),
        f'["name",null,"{EMOJI * 255}",1]'.encode(),
        b'["name",null,"a",0]',
        b'["name",null,"a",-1]',
        b'["name",null,"a",9007199254740992]',
        b'["name",null,"a",1.0]',
        b'["name",null,"a"]',
        b'["-name",null,"a",1]',
    ],
    ids=lambda content: ascii(content)[2:-1][:40],
)
def test_422_a_cursor_with_a_broken_text(api: Client, content: bytes) -> None:
    refused(api, f"sort=name&cursor={encoded(content)}", MALFORMED["cursor"])


@pytest.mark.storeless
@pytest.mark.clause("CURSOR-10")
@pytest.mark.parametrize("id_", [0, -1, 2**53, 2**63, 2**64 + 1, 10**400, -(2**53)], ids=hex)
def test_422_a_cursor_with_an_id_out_of_range(api: Client, id_: int) -> None:
    refused(api, f"cursor={cursor('id', None, id_, id_)}", MALFORMED["cursor"])
    refused(api, f"cursor={cursor('id', None, 1, id_)}", MALFORMED["cursor"])
    place = cursor("email", None, "a", id_)
    refused(api, f"sort=email&cursor={place}", MALFORMED["cursor"])


@pytest.mark.clause("CURSOR-10", "CURSOR-12")
@pytest.mark.parametrize("sort", ["name", "email"])
def test_a_cursor_with_the_longest_text_is_taken(api: Client, sort: str) -> None:
    token = unique()
    ada = api.create(name=token)
    for key, found in (("\U0010ffff" * 254, []), ("0", [ada]), ('!"\\ ', [ada])):
        query = f"q={token}&sort={sort}&cursor={cursor(sort, token, key, MAX_ID)}"
        users(api.get(f"/users?{query}"), found, next=False)


@pytest.mark.clause("CURSOR-10", "CURSOR-12")
def test_a_cursor_with_a_moment_that_there_is_is_taken(api: Client) -> None:
    token = unique()
    ada = api.create(name=token)
    for moment, found in (
        ("0001-01-01T00:00:00.000Z", [ada]),
        ("2000-02-29T23:59:59.999Z", [ada]),
        (ada["created_at"], []),
        ("9999-12-31T23:59:59.999Z", []),
    ):
        place = cursor("created_at", token, moment, MAX_ID)
        users(api.get(f"/users?q={token}&sort=created_at&cursor={place}"), found, next=False)


@pytest.mark.storeless
@pytest.mark.clause("CURSOR-10")
@pytest.mark.parametrize(
    "moment",
    [
        *["", "0", "now", "infinity", "2026", "2026-11-25", "2026-11-25T00:00:00Z"],
        *["0000-01-01T00:00:00.000Z", "-000001-01-01T00:00:00.000Z", "+010000-01-01T00:00:00.000Z"],
        *["2026-02-29T00:00:00.000Z", "2026-04-31T00:00:00.000Z", "2026-13-01T00:00:00.000Z"],
        *["2026-00-01T00:00:00.000Z", "2026-11-00T00:00:00.000Z", "2026-11-25T24:00:00.000Z"],
        *["2026-11-25T23:60:00.000Z", "2026-11-25T23:59:60.000Z", "2026-11-25T00:00:00.000"],
        *["2026-11-25T00:00:00.00Z", "2026-11-25T00:00:00.0000Z", "2026-11-25T00:00:00.000000Z"],
        *["2026-11-25T00:00:00.000z", "2026-11-25t00:00:00.000Z", "2026-11-25 00:00:00.000Z"],
        *["2026-11-25T00:00:00.000+00:00", "2026-11-25T00:00:00.000-00:00", "2026-W48-3"],
        *["2026-11-25T00:00:00,000Z", "20261125T000000.000Z", " 2026-11-25T00:00:00.000Z"],
        *[
            "2026-11-25T00:00:00.000ZZ",
            "２０２６-11-25T00:00:00.000Z",
            "\u0662026-11-25T00:00:00.000Z",
        ],
    ],
)
def test_422_a_cursor_with_a_moment_that_no_user_has(api: Client, moment: str) -> None:
    place = cursor("created_at", None, moment, 1)
    refused(api, f"sort=created_at&cursor={place}", MALFORMED["cursor"])


@pytest.mark.storeless
@pytest.mark.clause("CURSOR-11")
def test_binding_is_judged_where_sort_and_q_are_valid(api: Client) -> None:
    place = cursor("name", "x", "a", 1)
    too_short = error("too-short", parameter="q")
    refused(api, f"sort=x&cursor={place}", MALFORMED["sort"])
    refused(api, f"sort=x&q=y&cursor={place}", MALFORMED["sort"])
    refused(api, f"q=&sort=id&cursor={place}", too_short)
    refused(api, f"sort=name&sort=name&q=x&cursor={place}", MALFORMED["sort"])
    refused(
        api, f"limit=0&cursor={place}", error("too-small", parameter="limit"), MALFORMED["cursor"]
    )
    refused(api, "sort=x&q=&cursor=!", MALFORMED["sort"], too_short, MALFORMED["cursor"])


@pytest.mark.clause("CURSOR-12")
@pytest.mark.parametrize("sort", ["id", "-id"])
def test_a_cursor_at_the_end(api: Client, sort: str) -> None:
    token = unique()
    ada = api.create(name=token)
    end = MAX_ID if sort == "id" else 1
    place = cursor(sort, token, end, end)
    users(api.get(f"/users?q={token}&sort={sort}&cursor={place}"), [], next=False)
    place = cursor(sort, token, ada["id"], ada["id"])
    users(api.get(f"/users?q={token}&sort={sort}&cursor={place}"), [], next=False)


# QUERY


@pytest.mark.clause("QUERY-01")
@pytest.mark.parametrize("query", ["%", "%FF", "limit=0", "limit=1&limit=1", "q=&sort=x&cursor=!"])
def test_query_is_ignored_elsewhere(api: Client, query: str) -> None:
    email = unique_email()
    ada = user(
        api.post(f"/users?{query}", json={"name": "Ada", "email": email}),
        201,
        name="Ada",
        email=email,
    )
    path = f"/users/{ada['id']}?{query}"
    answer = api.get(path)
    user(answer, 200, **ada)
    head_of(api.head(path), answer)
    user(api.put(path, json={"name": "Ada", "email": email}), 200, **ada)
    user(api.patch(path, json={}), 200, **ada)
    empty(api.options(f"/users?{query}"), allow="GET, HEAD, OPTIONS, POST")
    body(api.get(f"/healthz?{query}"), 200, b'{"status":"ok"}')
    problem(api.get(f"/nothing?{query}"), "not-found")
    problem(api.delete(f"/users?{query}"), "method-not-allowed", allow="GET, HEAD, OPTIONS, POST")
    empty(api.delete(path), 204)


@pytest.mark.clause("QUERY-02")
@pytest.mark.parametrize(
    "form",
    ["&q={}", "q={}&", "&&q={}&&&", "=&q={}", "=x&q={}", "x&q={}", "x=1=2&q={}", "&=&q={}&=="],
)
def test_pieces_of_a_query(api: Client, form: str) -> None:
    token = unique()
    ada = api.create(name=token)
    users(api.get(f"/users?{form.format(token)}"), [ada], next=False)


@pytest.mark.clause("QUERY-02", "QUERY-10")
def test_value_goes_on_after_the_first_equals_sign(api: Client) -> None:
    token = unique()
    ada = api.create(name=f"{token}=1=2")
    api.create(name=token)
    users(api.get(f"/users?q={token}=1=2"), [ada], next=False)
    refused(api, "sort==id", MALFORMED["sort"])
    refused(api, "sort=id=", MALFORMED["sort"])


@pytest.mark.clause("QUERY-03")
def test_escapes_and_plus_are_decoded(api: Client) -> None:
    token = unique()
    ada = api.create(name=f"{token} +é/")
    api.create(name=f"{token} é/")
    escaped = "".join(f"%{byte:02x}" for byte in token.encode())
    for query in (
        f"q={token}+%2B%C3%A9/",
        f"q={token}%20%2b%c3%a9%2F",
        f"%71={escaped}%20%2B%c3%A9",
    ):
        users(api.get(f"/users?{query}&%73ort=%2Di%64&lim%69t=%31%30"), [ada], next=False)


@pytest.mark.storeless
@pytest.mark.clause("QUERY-04", "QUERY-06")
@pytest.mark.parametrize("piece", ["%", "%4", "%4g", "%g4", "%%41", "%u0041", "%+4", "%-1"])
@pytest.mark.parametrize("form", ["q={}", "x={}", "{}=x", "{}", "q=x&{}", "x&x={}&q=x"])
def test_400_a_percent_sign_without_its_digits(api: Client, form: str, piece: str) -> None:
    problem(api.get(f"/users?{form.format(piece)}"), "malformed-query")


@pytest.mark.storeless
@pytest.mark.clause("QUERY-05", "QUERY-06")
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param("%FF", id="FF"),
        pytest.param("%80", id="stray-continuation"),
        pytest.param("%C3", id="half"),
        pytest.param("%C3+%A9", id="apart"),
        pytest.param("%E9", id="latin-1"),
        pytest.param("%C0%AF", id="overlong"),
        pytest.param("%C0%80", id="overlong-NUL"),
        pytest.param("%E0%80%AF", id="overlong-of-three"),
        pytest.param("%ED%A0%80", id="surrogate"),
        pytest.param("%ED%A0%BD%ED%B8%80", id="CESU-8"),
        pytest.param("%F4%90%80%80", id="U+110000"),
        pytest.param("%F8%88%80%80%80", id="five-bytes"),
        pytest.param("%FE%FF%00q", id="UTF-16"),
    ],
)
def test_400_bytes_that_are_not_utf8(api: Client, raw: str) -> None:
    for query in (f"q={raw}", f"{raw}", f"limit=0&x={raw}"):
        problem(api.get(f"/users?{query}"), "malformed-query")


@pytest.mark.storeless
@pytest.mark.clause("QUERY-05")
def test_400_a_character_in_two_pieces(api: Client) -> None:
    problem(api.get("/users?q=%C3&%A9=x"), "malformed-query")
    problem(api.get("/users?%C3=%A9"), "malformed-query")


@pytest.mark.clause("QUERY-07")
@pytest.mark.parametrize(
    "extra",
    [
        "Limit=0",
        "LIMIT=0&Limit=0",
        "limit[]=0",
        "limit%20=0",
        "+limit=0",
        "limit%00=0",
        "sort.=x",
        "page=2&page=3",
        "offset=1",
        "x",
        "x=&x=",
        "Q=x",
        "__proto__=x",
        "constructor=x",
        "%C3%A9=x",
        "cursor%5B%5D=!",
        "a;limit=0",
        "%EF%BB%BFlimit=0",
        "toString=1&toString=1",
    ],
)
def test_unknown_parameters_are_ignored(api: Client, extra: str) -> None:
    many = crowd(api)
    expected = many.sorted("id")
    answer = api.get(f"/users?{extra}&limit=2&q={many.token}&{extra}")
    target = users(answer, expected[:2], next=True)
    last = expected[1]["id"]
    place = cursor("id", many.token, last, last)
    assert target == f"/users?limit=2&sort=id&q={many.token}&cursor={place}"


@pytest.mark.storeless
@pytest.mark.clause("QUERY-08", "PROB-06")
@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("limit", "limit=1&limit=1"),
        ("limit", "limit=1&limit=2"),
        ("limit", "limit=0&limit=1000"),
        ("limit", "limit=&limit=5"),
        ("limit", "limit=5&limit"),
        ("limit", "limit=5&x=1&%6Cimit=5"),
        ("sort", "sort=id&sort=id"),
        ("sort", "sort=id&sort=name&sort=x"),
        ("q", "q=a&q=a"),
        ("q", "q=a&q="),
        ("q", "q=&q="),
        ("q", f"q={'x' * 101}&q=%00"),
        ("cursor", "cursor=!&cursor=!"),
        ("cursor", f"cursor={RIGHT}&cursor={RIGHT}"),
    ],
)
def test_422_a_parameter_given_twice(api: Client, name: str, query: str) -> None:
    refused(api, query, MALFORMED[name])


@pytest.mark.storeless
@pytest.mark.clause("QUERY-08", "USR-LIST-20")
def test_422_every_parameter_given_twice(api: Client) -> None:
    refused(api, "q=a&cursor=!&sort=id&limit=1&q=a&cursor=!&sort=id&limit=1", *MALFORMED.values())


@pytest.mark.storeless
@pytest.mark.clause("QUERY-09")
@pytest.mark.parametrize("form", ["{}=", "{}", "x=1&{}=&y", "&{}&"])
@pytest.mark.parametrize("name", ["limit", "sort", "q", "cursor"])
def test_422_an_empty_parameter(api: Client, name: str, form: str) -> None:
    code = "too-short" if name == "q" else "malformed"
    refused(api, form.format(name), error(code, parameter=name))


@pytest.mark.clause("QUERY-10")
def test_other_characters_stand_for_themselves(api: Client) -> None:
    token = unique()
    for decoy in ("", " "):
        api.create(name=f"{token}{decoy}z")
    for characters in [*"!\"$'()*,-./:;<=>?@[\\]^_`{|}~", "?/?", "://"]:
        ada = api.create(name=f"{token}{characters}z")
        users(api.get(f"/users?q={token}{characters}z"), [ada], next=False)
