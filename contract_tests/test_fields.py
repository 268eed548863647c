"""The fields of a user, and how a user is written."""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contract_tests.harness.client import Client
from contract_tests.harness.expect import (
    MAX_ID,
    empty,
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
EMOJI = "\U0001f600"
# 64 + 1 + 63 + 1 + 63 + 1 + 61 = 254
LONG_DOMAIN = f"{'d' * 63}.{'e' * 63}.{'f' * 61}"


def fields(**members: str) -> dict[str, Any]:
    """A valid body with an email of its own, and these members."""
    return {"name": "Ada", "email": unique_email(), **members}


def rejected(api: Client, member: str, value: str, code: str) -> None:
    """POST answers this value of the member with this code, and nothing else.

    That PUT and PATCH are under the same rules is for `test_every_write_is_under_the_same_rules`.
    """
    content = json.dumps(fields(**{member: value})).encode()
    answer = api.post("/users", content=content, headers=JSON)
    problem(answer, "validation", [error(code, pointer=f"#/{member}")])


def accepted(api: Client, sent: dict[str, str], stored: dict[str, Any]) -> None:
    """POST takes `sent` for `stored`; PUT and PATCH are for `test_every_write_stores_alike`."""
    user(api.post("/users", json=sent), 201, **stored)


def at(version: int) -> dict[str, Any]:
    """A later version, whose updated_at is checked by its form."""
    return {"version": version, "updated_at": None}


@pytest.mark.clause("NAME-01", "NAME-03", "NAME-07", "EMAIL-01", "EMAIL-10")
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_every_write_stores_alike(api: Client, method: str) -> None:
    ada = api.create()
    path = f"/users/{ada['id']}"
    token = unique()
    for version, (name, email) in enumerate(
        [
            ("\t Zoe\u0308\r\n", f"Zoe.{token}@EXAMPLE.com"),
            (f" {EMOJI * 100} ", f"{token:!<64}@{LONG_DOMAIN}"),
            ("\ufeff\u3000", f"I+{token}@I.IO"),
        ],
        start=2,
    ):
        answer = api.request(method, path, json={"name": name, "email": email})
        stored = {"name": name.strip(" \t\r\n"), "email": email.lower(), **at(version)}
        user(answer, 200, **{**ada, **stored})
        user(api.get(path), 200, **{**ada, **stored})


@pytest.mark.storeless
@pytest.mark.clause("NAME-02", "NAME-03", "NAME-04", "NAME-05", "EMAIL-02", "EMAIL-06", "EMAIL-08")
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_every_write_is_under_the_same_rules(api: Client, method: str) -> None:
    path = "/users" if method == "POST" else NOBODY
    for name, name_code, email, email_code in (
        (" \n", "too-short", "", "malformed"),
        ("x" * 101, "too-long", "x" * 255, "too-long"),
        ("A\x00", "malformed", "ada@example.com\n", "malformed"),
        ("\ud800", "malformed", "\u212a@example.com", "malformed"),
        ("A\x85da", "malformed", f"{'x' * 65}@example.com", "too-long"),
        ("\x0b", "malformed", "ada@localhost", "malformed"),
        ("A\nda", "malformed", " ada@example.com", "malformed"),
    ):
        content = json.dumps({"name": name, "email": email}).encode()
        errors = [error(name_code, pointer="#/name"), error(email_code, pointer="#/email")]
        problem(api.request(method, path, content=content, headers=JSON), "validation", errors)


@pytest.mark.clause("NAME-01")
@pytest.mark.parametrize(
    ("before", "after"),
    [(" ", ""), ("", " "), ("\t", "\t"), ("\r\n", "\r\n"), (" \t\r\n \n", "\n\r\t  ")],
    ids=["before", "after", "tabs", "CRLF", "mixed"],
)
def test_name_is_trimmed(api: Client, before: str, after: str) -> None:
    email = unique_email()
    accepted(
        api,
        {"name": f"{before}Ada \u00a0 B{after}", "email": email},
        {"name": "Ada \u00a0 B", "email": email},
    )


@pytest.mark.clause("NAME-01", "NAME-07")
@pytest.mark.parametrize(
    "character",
    "\u00a0\u00ad\u034f\u061c\u1680\u180e\u2000\u2003\u200b\u200e\u2028\u2029\u202f\u205f\u2060"
    "\u3000\ufeff\ufff9\U000e0020",
    ids=lambda character: f"U+{ord(character):04X}",
)
def test_nothing_else_is_trimmed(api: Client, character: str) -> None:
    for name in (f"{character}Ada{character}", character):
        members = fields(name=name)
        user(api.post("/users", json=members), 201, **members)


@pytest.mark.storeless
@pytest.mark.clause("NAME-08")
def test_what_is_inside_makes_trimming_no_slower(api: Client) -> None:
    # A trim that begins anew with every space takes a second and more, each time; a machine that is
    # busy lets one that doesn't wait now and then.
    for spaces, count in ((" ", 65_000), ("\t", 32_000), ("\r\n", 16_000)):
        seconds: list[float] = []
        while not seconds or (min(seconds) > 0.4 and len(seconds) < 5):
            begin = time.monotonic()
            rejected(api, "name", f"x{spaces * count}y", "too-long")
            seconds.append(time.monotonic() - begin)
        assert min(seconds) < 0.4


@pytest.mark.storeless
@pytest.mark.clause("NAME-02", "NAME-06")
@pytest.mark.parametrize("name", ["", " ", "\t", "\r", "\n", " \t\r\n" * 60], ids=repr)
def test_empty_name_is_too_short(api: Client, name: str) -> None:
    rejected(api, "name", name, "too-short")


@pytest.mark.clause("NAME-03")
@pytest.mark.parametrize(
    "name",
    ["x" * 100, "é" * 100, EMOJI * 100, "e\u0301" * 50, f"  {'x' * 100}\r\n", "x"],
    ids=["ASCII", "two-bytes", "beyond-UTF-16", "combining", "before-trimming", "one"],
)
def test_name_of_one_hundred_code_points_is_taken(api: Client, name: str) -> None:
    email = unique_email()
    accepted(
        api,
        {"name": name, "email": email},
        {"name": name.strip(" \r\n"), "email": email},
    )


@pytest.mark.storeless
@pytest.mark.clause("NAME-03", "NAME-06")
@pytest.mark.parametrize(
    "name",
    [
        "x" * 101,
        "é" * 101,
        EMOJI * 101,
        "e\u0301" * 51,
        f"x{' ' * 99}x",
        "x" * 60_000,
        "\x00" * 101,
        "\ud800" * 101,
        f"\x1f{'x' * 100}",
    ],
    ids=[
        "ASCII",
        "two-bytes",
        "beyond-UTF-16",
        "combining",
        "spaces-inside",
        "60000",
        "control-characters",
        "surrogates",
        "control-before",
    ],
)
def test_name_of_one_more_is_too_long(api: Client, name: str) -> None:
    rejected(api, "name", name, "too-long")


CONTROLS = [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0))]


@pytest.mark.storeless
@pytest.mark.clause("NAME-04")
def test_control_character_inside_a_name_is_malformed(api: Client) -> None:
    for control in CONTROLS:
        rejected(api, "name", f"A{control}da", "malformed")


@pytest.mark.storeless
@pytest.mark.clause("NAME-04", "NAME-01")
@pytest.mark.parametrize("form", ["{}", "{}Ada", "Ada {}"])
def test_control_character_at_an_end_is_malformed(api: Client, form: str) -> None:
    for control in "\x00\x0b\x0c\x1c\x1d\x1e\x1f\x7f\x85":
        rejected(api, "name", form.format(control), "malformed")


@pytest.mark.storeless
@pytest.mark.clause("NAME-05", "JSON-17")
@pytest.mark.parametrize(
    "escaped",
    [
        r"\ud800",
        r"\udfff",
        r"A\ud83d",
        r"\ude00a",
        r"\ude00\ud83d",
        r"\ud83d\ud83d",
        r"\ud83d \ude00",
        r"\ud83dx",
        r"\ud83d\u0041",
        r"a\udc00\ud83d\ude00",
    ],
)
def test_unpaired_surrogate_in_a_name_is_malformed(api: Client, escaped: str) -> None:
    rejected(api, "name", json.loads(f'"{escaped}"'), "malformed")


@pytest.mark.storeless
@pytest.mark.clause("NAME-06")
def test_missing_name_is_missing_and_null_of_the_wrong_type(api: Client) -> None:
    email = unique_email()
    for method, path in (("POST", "/users"), ("PUT", NOBODY)):
        answer = api.request(method, path, json={"email": email})
        problem(answer, "validation", [error("missing", pointer="#/name")])
        answer = api.request(method, path, json={"email": email, "name": None})
        problem(answer, "validation", [error("wrong-type", pointer="#/name")])


@pytest.mark.clause("NAME-07", "REP-02")
@pytest.mark.parametrize(
    "name",
    [
        "Ada Lovelace",
        "ADA lovelace",
        "caf\u00e9",
        "cafe\u0301",
        "\u212b \u00c5 A\u030a",
        "\ufb01 \u2460 \u1e9b\u0323",
        "\u1100\u1161 \uac00",
        "Straße STRASSE ſ K",
        "İstanbul ıI",
        "\u0928\u093f \u05e9\u05dc\u05d5\u05dd \u200f\u202e",
        "👩‍👩‍👧‍👦 🏳️‍🌈",
        "\uffff \ufdd0 \U0010ffff \ue000",
        "</script><!-- & 'x' -->",
        '"\\/" \\u0041 \\n',
        "Robert'); DROP TABLE users;--",
        "%s %d {0} ${x} %00",
        "null",
        "0",
        "1e3",
        "a  b",
    ],
    ids=ascii,
)
def test_any_other_name_is_stored_as_sent(api: Client, name: str) -> None:
    members = fields(name=name)
    accepted(api, members, members)


@pytest.mark.clause("EMAIL-01")
@pytest.mark.parametrize(
    "form",
    [
        "{}@example.com",
        "{}@a.b",
        ".{}@example.com",
        "{}.@example.com",
        ".a..{}.@example.com",
        "{}!#$%&'*+/=?^_`{{|}}~-@example.com",
        "!{}@example.com",
        "-{}-@example.com",
        "'{}@example.com",
        "{}+tag@example.com",
        "1{}@1.2",
        "{}@1.2.3.4",
        "{}@123.example",
        "{}@a.b.c.d.e.f.g",
        "{}@xn--bcher-kva.example",
        "{}@a--b.example",
        "{}@example.c",
        "{}@example.1",
        "{}@localhost.localdomain",
        "{}@example.invalid",
        "%2b{}%40@example.com",
    ],
)
def test_email_of_the_pattern_is_taken(api: Client, form: str) -> None:
    members = fields(email=form.format(unique()))
    accepted(api, members, members)


@pytest.mark.storeless
@pytest.mark.clause("EMAIL-02")
@pytest.mark.parametrize(
    "email",
    [
        "ada",
        "@",
        "ada@",
        "@example.com",
        "ada@@example.com",
        "ada@b@example.com",
        "ada@example.com@",
        "ada.example.com",
        "a da@example.com",
        "ada@exam ple.com",
        "ada @example.com",
        "ada@ example.com",
        "ada@example.com\n",
        "ada@example.com\r\n",
        "\nada@example.com",
        "ada@example.com\nbob@example.com",
        "ada\n@example.com",
        "ada@exam\nple.com",
        "ada@example.com\x00",
        "\x00",
        "ada\x00@example.com",
        "ada\x7f@example.com",
        "ada\t@example.com",
        '"ada"@example.com',
        '"a da"@example.com',
        '"a@b"@example.com',
        "ada(c)@example.com",
        "ada@(c)example.com",
        "Ada <ada@example.com>",
        "<ada@example.com>",
        "mailto:ada@example.com",
        "ada@[127.0.0.1]",
        "ada@[IPv6:::1]",
        "ada,bob@example.com",
        "ada@example.com,bob@example.com",
        "ada;bob@example.com",
        "ada\\@example.com",
        "ada[1]@example.com",
        "a:b@example.com",
        "ada@example.com.",
        "ada@example..com",
        "ada@.example.com",
        "ada@.",
        "ada@example.com/",
        "ada@example.com:25",
        "ada@exam_ple.com",
        "ada@exam!ple.com",
        "ada@exa+mple.com",
        "ada@example.com?x",
        "ada@example.com#x",
    ],
    ids=ascii,
)
def test_email_outside_the_pattern_is_malformed(api: Client, email: str) -> None:
    rejected(api, "email", email, "malformed")


@pytest.mark.storeless
@pytest.mark.clause("EMAIL-03")
@pytest.mark.parametrize("domain", ["localhost", "com", "a", "1", "xn--bcher-kva"])
def test_domain_without_a_dot_is_malformed(api: Client, domain: str) -> None:
    rejected(api, "email", f"ada@{domain}", "malformed")


@pytest.mark.clause("EMAIL-04")
@pytest.mark.parametrize(
    "domain",
    [f"{'x' * 63}.com", f"example.{'x' * 63}", f"{'1' * 63}.{'-'.join('x' * 32)}", "0.0"],
    ids=["first-63", "last-63", "both-63", "digits"],
)
def test_label_of_sixty_three_characters_is_taken(api: Client, domain: str) -> None:
    members = fields(email=f"{unique()}@{domain}")
    accepted(api, members, members)


@pytest.mark.storeless
@pytest.mark.clause("EMAIL-04")
@pytest.mark.parametrize(
    "domain",
    [
        f"{'x' * 64}.com",
        f"example.{'x' * 64}",
        f"a.{'x' * 64}.com",
        "-example.com",
        "example-.com",
        "example.-com",
        "example.com-",
        "a.-.b",
        "-.com",
        "--.com",
        "example.-",
    ],
)
def test_broken_label_is_malformed(api: Client, domain: str) -> None:
    rejected(api, "email", f"ada@{domain}", "malformed")


@pytest.mark.storeless
@pytest.mark.clause("EMAIL-05")
@pytest.mark.parametrize(
    "email",
    [
        "ad\u00e4@example.com",
        "ada@b\u00fccher.example",
        "ada@example.\u0440\u0444",
        "\u212aada@example.com",
        "ada@\u212aeys.example",
        "ada@example.\u212a",
        "\u017fam@example.com",
        "ada@\u017fam.example",
        "ada@exam\u0131ple.com",
        "ada@\u0130.example",
        "\uff41da@example.com",
        "ada\uff20example.com",
        "ada@example\u3002com",
        "ada@example\uff0ecom",
        "ada@\u0661.example",
        "ada\u00a0@example.com",
        "ada@example.com\u00a0",
        "ada@example.com\u2028",
        "ada@example.com\u0085",
        "ada@exam\u00adple.com",
        "\ufeffada@example.com",
        "ada@\u200bexample.com",
        f"{EMOJI}@example.com",
        f"ada@{EMOJI}.example",
        "\ud800@example.com",
        "ada@\udc00.example",
        "ada@example.com\ud83d",
    ],
    ids=ascii,
)
def test_email_outside_ascii_is_malformed(api: Client, email: str) -> None:
    rejected(api, "email", email, "malformed")


@pytest.mark.clause("EMAIL-06", "EMAIL-07")
@pytest.mark.parametrize(
    "domain",
    [LONG_DOMAIN, f"{'d.' * 94}f", "example.com"],
    ids=["254", "254-with-many-labels", "64-before"],
)
def test_longest_email_is_taken(api: Client, domain: str) -> None:
    members = fields(email=f"{unique():x<64}@{domain}")
    accepted(api, members, members)


@pytest.mark.storeless
@pytest.mark.clause("EMAIL-06")
@pytest.mark.parametrize(
    "email",
    [
        f"{'x' * 64}@{LONG_DOMAIN}f",
        f"a@{'d' * 63}.{'d' * 63}.{'d' * 63}.{'d' * 60}.f",
        "x" * 255,
        f"a@{'.' * 253}",
        f"a@{' ' * 253}",
        f"a@{EMOJI * 253}",
        "\ud800" * 255,
        "\x00" * 255,
        f"a@b.com{' ' * 248}",
        "@" * 255,
        "x" * 60_000,
    ],
    ids=[
        "64",
        "labels",
        "no-at",
        "dots",
        "spaces",
        "emoji",
        "surrogates",
        "NULs",
        "to-trim",
        "ats",
        "60000",
    ],
)
def test_email_of_more_than_254_is_too_long(api: Client, email: str) -> None:
    rejected(api, "email", email, "too-long")


@pytest.mark.storeless
@pytest.mark.clause("EMAIL-06", "EMAIL-07")
@pytest.mark.parametrize(
    "email",
    [
        "x" * 254,
        f"a@{EMOJI * 252}",
        f"{EMOJI * 64}@example.com",
        f"{'x' * 64}@",
        f"a@{'x' * 252}",
        f"@{'x' * 253}",
        f"{'x' * 64}@exam ple.com",
        "x" * 65,
    ],
    ids=["no-at", "emoji-after", "emoji-before", "no-domain", "label", "no-local", "space", "65"],
)
def test_broken_email_within_the_lengths_is_malformed(api: Client, email: str) -> None:
    rejected(api, "email", email, "malformed")


@pytest.mark.storeless
@pytest.mark.clause("EMAIL-07")
@pytest.mark.parametrize(
    "email",
    [
        f"{'x' * 65}@example.com",
        f"{EMOJI * 65}@example.com",
        f"{' ' * 65}@example.com",
        f"{'x' * 65}@",
        f"{'x' * 65}@localhost",
        f"a@{'b' * 63}@example.com",
        f"{'@' * 66}",
        f'"{"x" * 63}"@example.com',
    ],
    ids=["ASCII", "emoji", "spaces", "no-domain", "no-dot", "before-the-last", "ats", "quoted"],
)
def test_more_than_64_before_the_at_are_too_long(api: Client, email: str) -> None:
    rejected(api, "email", email, "too-long")


@pytest.mark.storeless
@pytest.mark.clause("EMAIL-08")
def test_empty_email_is_malformed(api: Client) -> None:
    rejected(api, "email", "", "malformed")


@pytest.mark.storeless
@pytest.mark.clause("EMAIL-09")
@pytest.mark.parametrize("space", [" ", "\t", "\n", "\r\n", "\u3000", "\ufeff"], ids=ascii)
def test_email_is_not_trimmed(api: Client, space: str) -> None:
    rejected(api, "email", f"{space}ada@example.com", "malformed")
    rejected(api, "email", f"ada@example.com{space}", "malformed")


@pytest.mark.clause("EMAIL-10")
@pytest.mark.parametrize(
    "form",
    ["{}@EXAMPLE.COM", "ABCDEFGHIJKLMNOPQRSTUVWXYZ{}@Example.Com", "I{}@I.IO", "{}^_`{{|}}~@X.Y"],
)
def test_email_is_stored_in_lower_case(api: Client, form: str) -> None:
    email = form.format(unique())
    accepted(
        api,
        {"name": "Ada", "email": email},
        {"name": "Ada", "email": email.lower()},
    )


@pytest.mark.clause("REP-01", "REP-02", "REP-03")
def test_user_is_canonical_json(api: Client) -> None:
    name = '"\\/</é\u2028\u2029\x7e\u00a0\U0001f600'
    members = fields(name=name)
    answer = api.post("/users", json=members)
    user(answer, 201, **members)
    head = b'{"id":%d,"name":' % answer.json()["id"]
    assert answer.body.startswith(head + '"\\"\\\\/</é\u2028\u2029~\u00a0\U0001f600","em'.encode())
    keys = ["id", "name", "email", "role", "created_at", "updated_at", "version"]
    assert list(answer.json()) == keys


@pytest.mark.clause("REP-04", "REP-05")
def test_timestamps_are_of_now_in_utc(api: Client) -> None:
    ada = api.create()
    answer = api.patch(f"/users/{ada['id']}", json={"name": "Countess"})
    later = user(answer, 200, **{**ada, **at(2), "name": "Countess"})
    for text in (ada["created_at"], ada["updated_at"], later["updated_at"]):
        assert re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9.]{6}Z", text)
        assert abs(datetime.now(UTC) - datetime.fromisoformat(text)) < timedelta(minutes=5)


@pytest.mark.clause("REP-04")
def test_timestamps_always_have_three_fraction_digits(api: Client) -> None:
    # One in ten ends in a zero, which a formatter that spares digits would drop.
    for _ in range(20):
        assert re.search(r"\.[0-9]{3}Z$", api.create()["created_at"])


@pytest.mark.clause("REP-06")
def test_new_user_was_updated_when_it_was_created(api: Client) -> None:
    for _ in range(10):
        ada = api.create()
        assert ada["created_at"] == ada["updated_at"]


@pytest.mark.clause("REP-07")
def test_versions_count_the_changes(api: Client) -> None:
    ada = api.create()
    path = f"/users/{ada['id']}"
    assert ada["version"] == 1
    for version in range(2, 7):
        changed = {"name": f"Ada {version}"}
        method = "PATCH" if version % 2 else "PUT"
        body = changed if version % 2 else {**changed, "email": ada["email"]}
        user(api.request(method, path, json=body), 200, **{**ada, **changed, **at(version)})
        user(api.get(path), 200, **{**ada, **changed, **at(version)})


@pytest.mark.clause("REP-08")
def test_id_and_version_are_integers(api: Client) -> None:
    answer = api.post("/users", json={"name": "Ada", "email": unique_email()})
    assert re.match(rb'\{"id":[1-9][0-9]*,"name":', answer.body)
    assert answer.body.endswith(b',"version":1}')
    assert 1 <= answer.json()["id"] <= MAX_ID


@pytest.mark.clause("REP-09")
def test_id_is_never_used_again(api: Client) -> None:
    seen = set()
    for _ in range(5):
        ada = api.create()
        assert ada["id"] not in seen
        seen.add(ada["id"])
        empty(api.delete(f"/users/{ada['id']}"), 204)


@pytest.mark.clause("REP-10", "REP-01", "REP-08")
def test_user_is_the_same_bytes_everywhere(api: Client) -> None:
    token = unique()
    members = fields(name=f"Zoë \U0001f600 {token}")
    created = api.post("/users", json=members)
    ada = user(created, 201, **members)
    path = f"/users/{ada['id']}"
    assert created.body == render(ada)
    for answer in (api.get(path), api.put(path, json=members), api.patch(path, json={})):
        user(answer, 200, **ada)
        assert answer.body == created.body
    users(api.get(f"/users?q={token}"), [ada], next=False)
    assert api.get(f"/users?q={token}").body == b"[" + created.body + b"]"
    changed = api.patch(path, json={"name": f"Zoé {token}"})
    zoe = user(changed, 200, **{**ada, **at(2), "name": f"Zoé {token}"})
    user(api.get(path), 200, **zoe)
    users(api.get(f"/users?q={token}"), [zoe], next=False)


@pytest.mark.clause("REP-11")
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_change_sets_updated_at_alone(api: Client, method: str) -> None:
    ada = api.create()
    path = f"/users/{ada['id']}"
    moments = [ada["updated_at"]]
    for version in (2, 3):
        time.sleep(0.005)
        members = fields(name=f"Ada {version}", email=ada["email"])
        answer = api.request(method, path, json=members)
        changed = user(answer, 200, **{**ada, **members, **at(version)})
        moments.append(changed["updated_at"])
    assert moments == sorted(set(moments))
